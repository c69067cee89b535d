import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The old pull consumer: the caller keeps the offsets. */
@SuppressWarnings("deprecation")
final class Pulls {
    private Pulls() {
    }

    static void oldPullConsumer(Fixture f) throws Exception {
        DefaultMQProducer producer = f.producer();
        f.createTopic(producer, f.topic);
        Set<String> wanted = new TreeSet<>();
        for (int i = 0; i < 100; i++) {
            wanted.add("pull-" + i);
            f.send(producer, Fixture.message(f.topic, i % 2 == 0 ? "even" : "odd", "pull-" + i));
        }
        DefaultMQPullConsumer consumer = pullConsumer(f);
        Set<String> got = new TreeSet<>();
        Set<String> even = new TreeSet<>();
        Set<MessageQueue> queues = consumer.fetchSubscribeMessageQueues(f.topic);
        Fixture.check(!queues.isEmpty(), "no queues to pull from");
        for (MessageQueue queue : queues) {
            long end = readToEnd(consumer, queue, "*", got);
            readToEnd(consumer, queue, "even", even);
            // Committed by hand, read back from the broker.
            consumer.updateConsumeOffset(queue, end);
            consumer.getOffsetStore().updateConsumeOffsetToBroker(queue, end, false);
            long stored = consumer.fetchConsumeOffset(queue, true);
            Fixture.check(stored == end, "committed " + end + ", read " + stored);
            PullResult beyond = consumer.pull(queue, "*", end + 1000, 32);
            Fixture.check(beyond.getPullStatus() == PullStatus.OFFSET_ILLEGAL, "beyond the end: " + beyond);
            Fixture.check(beyond.getNextBeginOffset() == end, "corrected to " + beyond.getNextBeginOffset() + ", not " + end);
        }
        Fixture.check(got.equals(wanted), Fixture.difference(wanted, got));
        Fixture.check(even.size() == 50, even.size() + " even messages of 50");
        waitsForNew(f, producer, consumer, queues.iterator().next());
    }

    private static void waitsForNew(Fixture f, DefaultMQProducer producer, DefaultMQPullConsumer consumer, MessageQueue queue)
        throws Exception {
        long end = consumer.maxOffset(queue);
        Thread sender = new Thread(() -> {
            try {
                Thread.sleep(1000);
                producer.send(Fixture.message(f.topic, "T", "woken"), queue);
            } catch (Exception e) {
                Interop.say("NOTE pull: send of the waking message failed: " + e);
            }
        });
        sender.start();
        long from = System.nanoTime();
        PullResult result = consumer.pullBlockIfNotFound(queue, "*", end, 32);
        long ms = (System.nanoTime() - from) / 1_000_000;
        Fixture.check(result.getPullStatus() == PullStatus.FOUND, "waiting pull answered " + result);
        Fixture.check(ms > 800 && ms < 6000, "waiting pull answered after " + ms + " ms");
        sender.join();
    }

    static DefaultMQPullConsumer pullConsumer(Fixture f) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer(f.group("pull"));
        consumer.setNamesrvAddr(f.nameServer);
        consumer.setInstanceName(Fixture.uniqueInstance());
        consumer.start();
        f.onClose(consumer::shutdown);
        return consumer;
    }

    static long readToEnd(DefaultMQPullConsumer consumer, MessageQueue queue, String tags, Set<String> into)
        throws Exception {
        long at = consumer.minOffset(queue);
        while (true) {
            PullResult result = consumer.pull(queue, tags, at, 32);
            Fixture.check(result.getPullStatus() != PullStatus.OFFSET_ILLEGAL, "at " + at + ": " + result);
            List<MessageExt> found = result.getMsgFoundList();
            for (MessageExt message : found == null ? new ArrayList<MessageExt>() : found) {
                if (!"seed".equals(message.getTags())) {
                    into.add(Fixture.body(message));
                }
            }
            if (result.getPullStatus() == PullStatus.NO_NEW_MSG) {
                return result.getNextBeginOffset();
            }
            Fixture.check(result.getNextBeginOffset() > at, "no progress at " + at + ": " + result);
            at = result.getNextBeginOffset();
        }
    }

    /** Waits until a topic exists and holds a message; returns its first one. */
    static MessageExt awaitFirst(Fixture f, String topic, int seconds) throws Exception {
        DefaultMQPullConsumer consumer = pullConsumer(f);
        MessageExt[] first = new MessageExt[1];
        Fixture.await(seconds, () -> "a message in " + topic, () -> {
            try {
                for (MessageQueue queue : consumer.fetchSubscribeMessageQueues(topic)) {
                    PullResult result = consumer.pull(queue, "*", 0, 1);
                    if (result.getPullStatus() == PullStatus.FOUND) {
                        first[0] = result.getMsgFoundList().get(0);
                        return true;
                    }
                }
            } catch (Exception e) {
                return false;
            }
            return false;
        });
        return first[0];
    }
}
