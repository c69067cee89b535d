import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/**
 * Reads a file of Canal's messages as a table of Flink SQL and prints the rows that are left at the end.
 *
 * <pre>java -cp CLASSES:LIB/* FinalTable FILE TABLE 'id BIGINT, name STRING' id</pre>
 *
 * Each row is a line "ROW", then each value: "-" for NULL, or "=" and the hex digits of its text. What Flink makes of the messages is judged strictly: a row that
 * comes must be new, and one that goes must be known with exactly these values.
 */
public final class FinalTable {
    private FinalTable() {
    }

    public static void main(String[] args) throws Exception {
        String file = args[0];
        String table = args[1];
        String columns = args[2];
        List<String> key = List.of(args[3].split(","));

        TableEnvironment flink = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
        // One reader: the lines are in the order of the source.
        flink.getConfig().set("parallelism.default", "1");
        flink.executeSql("CREATE TABLE changes (" + columns + ") WITH ('connector' = 'filesystem', 'path' = 'file://" + file
            + "', 'format' = 'canal-json', 'canal-json.table.include' = '^" + table + "$')");
        List<String> names = flink.from("changes").getResolvedSchema().getColumnNames();
        String texts = names.stream().map(name -> "CAST(`" + name + "` AS STRING) `" + name + "`").collect(Collectors.joining(", "));

        Map<List<Object>, Row> rows = new LinkedHashMap<>();
        long changes = 0;
        try (CloseableIterator<Row> results = flink.executeSql("SELECT " + texts + " FROM changes").collect()) {
            while (results.hasNext()) {
                Row row = results.next();
                changes++;
                List<Object> place = new ArrayList<>();
                key.forEach(name -> place.add(row.getField(name)));
                switch (row.getKind()) {
                    case INSERT, UPDATE_AFTER -> check(rows.put(place, plain(row, names)) == null, row, "is there already");
                    case UPDATE_BEFORE, DELETE -> check(plain(row, names).equals(rows.remove(place)), row, "is not known so");
                }
            }
        }
        System.out.println("CHANGES " + changes);
        for (Row row : rows.values()) {
            StringBuilder line = new StringBuilder("ROW");
            for (int i = 0; i < row.getArity(); i++) {
                Object value = row.getField(i);
                line.append(value == null ? " -" : " =" + HexFormat.of().formatHex(value.toString().getBytes(StandardCharsets.UTF_8)));
            }
            System.out.println(line);
        }
        System.exit(0);
    }

    /** Without its kind, so that rows compare by their values. */
    private static Row plain(Row row, List<String> names) {
        return Row.of(names.stream().map(row::getField).toArray());
    }

    private static void check(boolean holds, Row row, String why) {
        if (!holds) {
            System.out.println("the row of this change " + why + ": " + row);
            System.exit(1);
        }
    }
}
