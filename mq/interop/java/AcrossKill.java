import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Sends and consumes without a pause while somebody else kills leaders. Prints "READY" once messages flow both ways,
 * goes on until a line "stop" (or the end) arrives on standard input, then checks that every acknowledged message was
 * consumed and that each key's order held, and prints one STATS line. A line "mark" closes the book on one fault: the
 * longest gap since the mark before becomes one of gaps_ms.
 */
final class AcrossKill {
    private static final int PLAIN_SENDERS = 3;
    private static final int ORDERED_SENDERS = 2;

    private final Fixture f;
    private final AtomicBoolean stop = new AtomicBoolean();
    private final Set<String> acknowledged = ConcurrentHashMap.newKeySet();
    private final Map<String, AtomicInteger> consumed = new ConcurrentHashMap<>();
    private final ConcurrentLinkedQueue<String> failures = new ConcurrentLinkedQueue<>();
    private final AtomicInteger failedPlain = new AtomicInteger();
    /** Of these: those for which the client waited all of its time. */
    private final AtomicInteger timedOutPlain = new AtomicInteger();
    private final AtomicInteger failedOther = new AtomicInteger();
    private final AtomicInteger failedOrdered = new AtomicInteger();
    /** Since the last mark, and of all. */
    private final AtomicLong longestGapMs = new AtomicLong();
    private final AtomicLong longestOfAllMs = new AtomicLong();
    private final ConcurrentLinkedQueue<Long> gaps = new ConcurrentLinkedQueue<>();
    private final AtomicLong longestSendMs = new AtomicLong();
    private final AtomicLong longestSilenceMs = new AtomicLong();
    private final Map<String, Integer> lastOfKey = new ConcurrentHashMap<>();
    private final ConcurrentLinkedQueue<String> outOfOrder = new ConcurrentLinkedQueue<>();
    private final AtomicLong lastConsumed = new AtomicLong(System.nanoTime());

    private AcrossKill(Fixture f) {
        this.f = f;
    }

    static void run(Fixture f) throws Exception {
        new AcrossKill(f).run();
    }

    private void run() throws Exception {
        String orderedTopic = f.topic + "-ordered";
        DefaultMQProducer producer = f.producer();
        f.createTopic(producer, f.topic);
        f.createTopic(producer, orderedTopic);
        consumeConcurrently();
        consumeOrderly(orderedTopic);
        OtherKinds kinds = new OtherKinds(f, producer);
        Thread[] senders = new Thread[PLAIN_SENDERS + ORDERED_SENDERS + 1];
        for (int i = 0; i < senders.length; i++) {
            int number = i;
            senders[i] = new Thread(() -> {
                if (number < PLAIN_SENDERS) {
                    sendPlain(producer, number);
                } else if (number < PLAIN_SENDERS + ORDERED_SENDERS) {
                    sendOrdered(producer, orderedTopic, number);
                } else {
                    sendOthers(kinds);
                }
            }, "sender-" + i);
            senders[i].start();
        }
        Fixture.await(60, () -> "the first messages, consumed " + consumed.size(), () -> consumed.size() > 200);
        lastConsumed.set(System.nanoTime());
        longestSilenceMs.set(0);
        Interop.say("READY");
        waitForStop();
        stop.set(true);
        long silence = longestSilenceMs.get();
        for (Thread sender : senders) {
            sender.join();
        }
        try {
            Fixture.await(90, this::missing, () -> consumed.keySet().containsAll(acknowledged));
        } finally {
            Interop.say(statistics(silence));
        }
        Set<String> undead = new TreeSet<>(kinds.dropped);
        undead.retainAll(consumed.keySet());
        Fixture.check(undead.isEmpty(), "rolled back and consumed: " + undead);
        Fixture.check(outOfOrder.isEmpty(), outOfOrder.size() + " out of order, first: " + outOfOrder.peek());
    }

    private void waitForStop() throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        String line = input.readLine();
        while (line != null && !line.trim().equals("stop")) {
            if (line.trim().equals("mark")) {
                long gap = longestGapMs.getAndSet(0);
                gaps.add(gap);
                longestOfAllMs.accumulateAndGet(gap, Math::max);
            }
            line = input.readLine();
        }
        longestOfAllMs.accumulateAndGet(longestGapMs.get(), Math::max);
    }

    private void sendPlain(DefaultMQProducer producer, int sender) {
        for (int n = 0; !stop.get(); n++) {
            String body = "plain-" + sender + "-" + n;
            long from = System.nanoTime();
            if (!sendOnce(() -> producer.send(Fixture.message(f.topic, "T", body)), List.of(body))) {
                failedPlain.incrementAndGet();
                // The client counts in whole milliseconds.
                if (System.nanoTime() - from >= (producer.getSendMsgTimeout() - 50) * 1_000_000L) {
                    timedOutPlain.incrementAndGet();
                }
            }
        }
    }

    /** The client tries all of these again by itself, as it does plain ones. */
    private void sendOthers(OtherKinds kinds) {
        for (int n = 0; !stop.get(); n++) {
            int number = n;
            List<String> bodies = new ArrayList<>();
            if (!sendOnce(() -> kinds.send(number, bodies), bodies)) {
                failedOther.incrementAndGet();
            }
            pause(10);
        }
    }

    /** A selector send is tried once by the client; an application repeats it, as here, before it goes on. */
    private void sendOrdered(DefaultMQProducer producer, String topic, int sender) {
        for (int n = 0; !stop.get(); n++) {
            String key = "key" + sender + n % 4;
            String body = key + "-" + n;
            Message message = Fixture.message(topic, "T", body);
            int hash = Math.abs(key.hashCode());
            while (!sendOnce(() -> producer.send(message, (queues, m, k) -> queues.get(hash % queues.size()), key), List.of(body))) {
                failedOrdered.incrementAndGet();
                if (stop.get()) {
                    return;
                }
                pause(20);
            }
        }
    }

    interface Send {
        SendResult run() throws Exception;
    }

    private boolean sendOnce(Send send, List<String> bodies) {
        long from = System.nanoTime();
        boolean sent = false;
        try {
            SendResult result = send.run();
            sent = result.getSendStatus() == SendStatus.SEND_OK;
            if (sent) {
                acknowledged.addAll(bodies);
            } else {
                failures.add(result.toString());
            }
        } catch (Exception e) {
            failures.add(String.valueOf(e).replaceAll("\\s+", " "));
        }
        long to = System.nanoTime();
        longestSendMs.accumulateAndGet((to - from) / 1_000_000, Math::max);
        noteGap(sent, to);
        pause(1);
        return sent;
    }

    private long lastSent = 0;

    /** The gap is the longest time in which no sender at all got an acknowledgement. */
    private synchronized void noteGap(boolean sent, long now) {
        if (!sent) {
            return;
        }
        if (lastSent != 0) {
            longestGapMs.accumulateAndGet((now - lastSent) / 1_000_000, Math::max);
        }
        lastSent = now;
    }

    private void consumeConcurrently() throws Exception {
        DefaultMQPushConsumer consumer = f.consumer("concurrent");
        consumer.subscribe(f.topic, "T");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(this::count);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
    }

    private void consumeOrderly(String topic) throws Exception {
        DefaultMQPushConsumer consumer = f.consumer("orderly");
        consumer.subscribe(topic, "T");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            for (MessageExt message : messages) {
                String body = Fixture.body(message);
                boolean first = count(message);
                String key = body.substring(0, body.indexOf('-'));
                int number = Integer.parseInt(body.substring(body.indexOf('-') + 1));
                // A repeated delivery is allowed; a message seen for the first time must be newer than all before it.
                Integer last = lastOfKey.get(key);
                if (first && last != null && number < last) {
                    outOfOrder.add(body + " first came after " + last);
                }
                lastOfKey.merge(key, number, Math::max);
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
    }

    private boolean count(MessageExt message) {
        long now = System.nanoTime();
        longestSilenceMs.accumulateAndGet((now - lastConsumed.getAndSet(now)) / 1_000_000, Math::max);
        return consumed.computeIfAbsent(Fixture.body(message), k -> new AtomicInteger()).incrementAndGet() == 1;
    }

    private String missing() {
        Set<String> missing = new TreeSet<>(acknowledged);
        missing.removeAll(consumed.keySet());
        Set<String> some = new TreeSet<>();
        missing.stream().limit(5).forEach(some::add);
        return missing.size() + " acknowledged messages never consumed, such as " + some;
    }

    /** Silence counts only while there is something to consume: {@code silence} is of the time before the end. */
    private String statistics(long silence) {
        int duplicates = 0;
        for (AtomicInteger times : consumed.values()) {
            duplicates += times.get() - 1;
        }
        Set<String> missing = new TreeSet<>(acknowledged);
        missing.removeAll(consumed.keySet());
        String first = failures.isEmpty() ? "" : " first_failure=\"" + failures.peek().replace('"', '\'') + "\"";
        return "STATS across-kill acknowledged=" + acknowledged.size() + " missing=" + missing.size() + " duplicated=" + duplicates
            + " out_of_order=" + outOfOrder.size() + " failed_sends=" + failedPlain.get() + " timed_out_sends=" + timedOutPlain.get()
            + " failed_other_sends=" + failedOther.get() + " repeated_ordered_sends=" + failedOrdered.get()
            + " longest_gap_ms=" + longestOfAllMs.get() + " gaps_ms=" + gaps.toString().replaceAll("[^0-9,]", "") + " longest_send_ms=" + longestSendMs.get()
            + " longest_consume_silence_ms=" + silence + first;
    }

    private static void pause(long ms) {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
