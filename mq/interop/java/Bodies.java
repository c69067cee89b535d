import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.common.message.MessageQueue;

/** What the binlog relay has written into a topic, as a plain consumer gets it with the tags that docs/binlog-topics.md names. */
@SuppressWarnings("deprecation")
final class Bodies {
    private static final String TAGS = "INSERT || UPDATE || DELETE";
    /** A column named id has a text, in quotes. */
    private static final Pattern ID = Pattern.compile(",\"id\":(\\d+),\"isDdl\":false,");

    private Bodies() {
    }

    /** Pulls the topic BODIES_TOPIC to its end, sees that a push consumer gets exactly the same, and writes the bodies into BODIES_FILE, in the order of their ids. */
    static void write(Fixture f) throws Exception {
        String topic = System.getenv("BODIES_TOPIC");
        DefaultMQPullConsumer consumer = Pulls.pullConsumer(f);
        Set<String> bodies = new TreeSet<>();
        for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(topic)) {
            Pulls.readToEnd(consumer, queue, TAGS, bodies);
        }
        f.consume("push", topic, TAGS).awaitExactly(bodies, 60);

        Map<Long, String> ordered = new TreeMap<>();
        for (String body : bodies) {
            Matcher id = ID.matcher(body);
            Fixture.check(id.find(), "a body without an id: " + body);
            Fixture.check(ordered.put(Long.parseLong(id.group(1)), body) == null, "two bodies with id " + id.group(1));
        }
        Files.write(Paths.get(System.getenv("BODIES_FILE")), ordered.values(), StandardCharsets.UTF_8);
        Interop.say("STATS bodies messages=" + ordered.size());
    }
}
