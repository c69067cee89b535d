import java.util.ArrayList;
import java.util.Collection;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The lite pull consumer (since 4.6): subscribing, and with queues assigned by hand. */
public final class LitePulls {
    private LitePulls() {
    }

    public static void run(Fixture f) throws Exception {
        DefaultMQProducer producer = f.producer();
        f.createTopic(producer, f.topic);
        Set<String> wanted = new TreeSet<>();
        for (int i = 0; i < 100; i++) {
            wanted.add("lite-" + i);
            f.send(producer, Fixture.message(f.topic, "T", "lite-" + i));
        }
        subscribed(f, wanted);
        assigned(f, wanted);
    }

    private static void subscribed(Fixture f, Set<String> wanted) throws Exception {
        DefaultLitePullConsumer consumer = start(f, "subscribed", true);
        Set<String> got = new TreeSet<>();
        pollUntil(consumer, got, wanted);
        consumer.commitSync();
        consumer.shutdown();
        // The same group again: nothing of the old messages comes back.
        DefaultLitePullConsumer again = start(f, "subscribed", true);
        Set<String> repeated = new TreeSet<>();
        long end = System.nanoTime() + 3_000_000_000L;
        while (System.nanoTime() < end) {
            take(again.poll(200), repeated);
        }
        Fixture.check(repeated.isEmpty(), "after commit and restart " + repeated.size() + " came again");
        again.shutdown();
    }

    private static void assigned(Fixture f, Set<String> wanted) throws Exception {
        DefaultLitePullConsumer consumer = start(f, "assigned", false);
        Collection<MessageQueue> queues = consumer.fetchMessageQueues(f.topic);
        consumer.assign(new ArrayList<>(queues));
        for (MessageQueue queue : queues) {
            consumer.seek(queue, 0);
        }
        Set<String> got = new TreeSet<>();
        pollUntil(consumer, got, wanted);
        // A seek interrupts the pull in flight, the interrupted pull closes the connection that all queues share, and a queue whose first
        // pull after its own seek fails by that goes on from the old place: the client keeps the wanted offset for one try only.
        // So the queues are paused until the interrupts are over, as a user of several queues must do.
        consumer.pause(queues);
        for (MessageQueue queue : queues) {
            consumer.seek(queue, 0);
        }
        Thread.sleep(1500);
        consumer.resume(queues);
        got.clear();
        pollUntil(consumer, got, wanted);
        consumer.shutdown();
    }

    private static DefaultLitePullConsumer start(Fixture f, String role, boolean subscribe) throws Exception {
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(f.group(role));
        consumer.setNamesrvAddr(f.nameServer);
        consumer.setInstanceName(Fixture.uniqueInstance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setAutoCommit(false);
        if (subscribe) {
            consumer.subscribe(f.topic, "T");
        }
        f.onClose(() -> {
            if (consumer.isRunning()) {
                consumer.shutdown();
            }
        });
        consumer.start();
        return consumer;
    }

    private static void pollUntil(DefaultLitePullConsumer consumer, Set<String> got, Set<String> wanted) {
        long end = System.nanoTime() + 60_000_000_000L;
        while (!got.containsAll(wanted)) {
            Fixture.check(System.nanoTime() < end, Fixture.difference(wanted, got));
            take(consumer.poll(500), got);
        }
        Fixture.check(got.equals(wanted), Fixture.difference(wanted, got));
    }

    private static void take(Iterable<MessageExt> messages, Set<String> into) {
        for (MessageExt message : messages) {
            if ("T".equals(message.getTags())) {
                into.add(Fixture.body(message));
            }
        }
    }
}
