import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
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
 * Reads a file of Canal's messages as tables of Flink SQL and prints the rows that are left at the end.
 *
 * <pre>java -cp CLASSES:LIB/* FinalTable FILE TABLE 'id BIGINT, name STRING' id [TABLE COLUMNS KEY]...</pre>
 *
 * Each row is a line "ROW", the table, then each value: "-" for NULL, or "=" and the hex digits of its text. What Flink makes of the messages is judged strictly: a
 * row that comes must be new, and one that goes must be known with exactly these values.
 */
public final class FinalTable {
    private FinalTable() {
    }

    public static void main(String[] args) throws Exception {
        TableEnvironment flink = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
        // One reader: the lines are in the order of the source.
        flink.getConfig().set("parallelism.default", "1");
        for (int at = 1; at + 2 < args.length; at += 3) {
            print(args[at], rows(flink, args[0], args[at], args[at + 1], List.of(args[at + 2].split(","))));
        }
        System.exit(0);
    }

    private static Collection<Row> rows(TableEnvironment flink, String file, String table, String columns, List<String> key) throws Exception {
        flink.executeSql("CREATE TABLE `" + table + "` (" + columns + ") WITH ('connector' = 'filesystem', 'path' = 'file://" + file
            + "', 'format' = 'canal-json', 'canal-json.table.include' = '^" + table + "$')");
        List<String> names = flink.from(table).getResolvedSchema().getColumnNames();
        String texts = names.stream().map(name -> "CAST(`" + name + "` AS STRING) `" + name + "`").collect(Collectors.joining(", "));
        Map<List<Object>, Row> rows = new LinkedHashMap<>();
        try (CloseableIterator<Row> changes = flink.executeSql("SELECT " + texts + " FROM `" + table + "`").collect()) {
            while (changes.hasNext()) {
                Row row = changes.next();
                List<Object> place = new ArrayList<>();
                key.forEach(name -> place.add(row.getField(name)));
                switch (row.getKind()) {
                    case INSERT, UPDATE_AFTER -> check(rows.put(place, plain(row, names)) == null, row, "is there already");
                    case UPDATE_BEFORE, DELETE -> check(plain(row, names).equals(rows.remove(place)), row, "is not known so");
                }
            }
        }
        return rows.values();
    }

    private static void print(String table, Collection<Row> rows) {
        for (Row row : rows) {
            StringBuilder line = new StringBuilder("ROW ").append(table);
            for (int i = 0; i < row.getArity(); i++) {
                Object value = row.getField(i);
                line.append(value == null ? " -" : " =" + HexFormat.of().formatHex(value.toString().getBytes(StandardCharsets.UTF_8)));
            }
            System.out.println(line);
        }
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
