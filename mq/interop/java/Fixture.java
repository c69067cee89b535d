import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** One scenario's own names, clients and checks. Closing it shuts every client down. */
final class Fixture implements AutoCloseable {
    private static final AtomicInteger CLIENTS = new AtomicInteger();

    final String scenario;
    final String nameServer;
    /** Unique per run, so that a cluster can be used again without old messages in the way. */
    final String run;
    final String topic;
    private final Deque<Runnable> closers = new ArrayDeque<>();

    static final class Failed extends RuntimeException {
        Failed(String why) {
            super(why);
        }
    }

    Fixture(String scenario, String nameServer) {
        this.scenario = scenario;
        this.nameServer = nameServer;
        this.run = Long.toString(System.nanoTime() & 0xffff_ffff_ffffL, 36);
        this.topic = "it-" + scenario + "-" + run;
    }

    /**
     * Loads the client's classes before anything is judged: on a busy machine the first send of a cold virtual machine
     * alone can take longer than the client's time-out of 3 s.
     */
    static void warmUp(String nameServer) throws Exception {
        try (Fixture f = new Fixture("warm-up", nameServer)) {
            DefaultMQProducer producer = f.producer();
            Exception[] last = new Exception[1];
            await(60, () -> "warm up: " + last[0], () -> {
                try {
                    return producer.send(message(f.topic, "T", "warm")).getSendStatus() == SendStatus.SEND_OK;
                } catch (Exception e) {
                    last[0] = e;
                    return false;
                }
            });
        }
    }

    // ---- clients ----

    String group(String role) {
        return "it-" + scenario + "-" + role + "-" + run;
    }

    DefaultMQProducer producer() throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(group("producer"));
        producer.setNamesrvAddr(nameServer);
        producer.setInstanceName(uniqueInstance());
        producer.start();
        onClose(producer::shutdown);
        return producer;
    }

    /** A push consumer that starts at the oldest message; the caller adds subscription and listener and starts it. */
    DefaultMQPushConsumer consumer(String role) {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group(role));
        consumer.setNamesrvAddr(nameServer);
        consumer.setInstanceName(uniqueInstance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        onClose(consumer::shutdown);
        return consumer;
    }

    /** Starts a concurrent push consumer that takes every message of {@code topic} matching {@code tags}. */
    Taken consume(String role, String topic, String tags) throws Exception {
        Taken taken = new Taken();
        DefaultMQPushConsumer consumer = consumer(role);
        consumer.subscribe(topic, tags);
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(taken::add);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        return taken;
    }

    static String uniqueInstance() {
        return "it-" + ProcessHandle.current().pid() + "-" + CLIENTS.incrementAndGet();
    }

    synchronized void onClose(Runnable closer) {
        closers.push(closer);
    }

    @Override
    public void close() {
        List<Runnable> all;
        synchronized (this) {
            all = new ArrayList<>(closers);
            closers.clear();
        }
        for (Runnable closer : all) {
            try {
                closer.run();
            } catch (RuntimeException e) {
                Interop.say("NOTE " + scenario + ": closing a client: " + e);
            }
        }
    }

    // ---- messages ----

    static Message message(String topic, String tags, String body) {
        return new Message(topic, tags, "key-" + body, body.getBytes(StandardCharsets.UTF_8));
    }

    static String body(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    SendResult send(DefaultMQProducer producer, Message message) throws Exception {
        SendResult result = producer.send(message);
        check(result.getSendStatus() == SendStatus.SEND_OK, "send answered " + result);
        return result;
    }

    /** Makes the topic exist (the broker creates it at the first send), so that consumers find its route. */
    void createTopic(DefaultMQProducer producer, String topic) throws Exception {
        send(producer, message(topic, "seed", "seed"));
        await(30, () -> "route of " + topic, () -> {
            try {
                return !producer.fetchPublishMessageQueues(topic).isEmpty();
            } catch (Exception e) {
                return false;
            }
        });
    }

    /** What a consumer has received, the seed message left out. */
    static final class Taken {
        final ConcurrentLinkedQueue<MessageExt> messages = new ConcurrentLinkedQueue<>();

        void add(MessageExt message) {
            if (!"seed".equals(message.getTags())) {
                messages.add(message);
            }
        }

        int count() {
            return messages.size();
        }

        Set<String> bodies() {
            Set<String> bodies = new TreeSet<>();
            messages.forEach(m -> bodies.add(body(m)));
            return bodies;
        }

        /** Waits for exactly these bodies, then a moment longer for messages that should not come. */
        void awaitExactly(Collection<String> expected, int seconds) throws Exception {
            Set<String> wanted = new TreeSet<>(expected);
            await(seconds, () -> difference(wanted, bodies()), () -> bodies().containsAll(wanted));
            Thread.sleep(300);
            check(bodies().equals(wanted), difference(wanted, bodies()));
            check(count() == wanted.size(), "delivered " + count() + " times for " + wanted.size() + " messages");
        }
    }

    static String difference(Set<String> wanted, Set<String> got) {
        Set<String> missing = new TreeSet<>(wanted);
        missing.removeAll(got);
        Set<String> extra = new TreeSet<>(got);
        extra.removeAll(wanted);
        return missing.size() + " missing " + some(missing) + ", " + extra.size() + " unexpected " + some(extra);
    }

    private static List<String> some(Set<String> set) {
        return new ArrayList<>(set).subList(0, Math.min(5, set.size()));
    }

    // ---- checks ----

    static void check(boolean holds, String why) {
        if (!holds) {
            throw new Failed(why);
        }
    }

    static void await(int seconds, Supplier<String> what, BooleanSupplier holds) throws Exception {
        long end = System.nanoTime() + seconds * 1_000_000_000L;
        while (!holds.getAsBoolean()) {
            check(System.nanoTime() < end, "after " + seconds + " s: " + what.get());
            Thread.sleep(20);
        }
    }
}
