import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;
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

/** What a push consumer is promised. */
final class Pushes {
    private Pushes() {
    }

    static void tags(Fixture f) throws Exception {
        DefaultMQProducer producer = f.producer();
        f.createTopic(producer, f.topic);
        Map<String, List<String>> sent = new HashMap<>();
        List<String> everything = new ArrayList<>();
        for (int i = 0; i < 40; i++) {
            String tag = new String[] {"A", "B", "C", null}[i % 4];
            String body = "tag-" + tag + "-" + i;
            f.send(producer, Fixture.message(f.topic, tag, body));
            sent.computeIfAbsent(String.valueOf(tag), k -> new ArrayList<>()).add(body);
            everything.add(body);
        }
        Fixture.Taken aOrB = f.consume("aorb", f.topic, "A || B");
        Fixture.Taken c = f.consume("c", f.topic, "C");
        Fixture.Taken all = f.consume("all", f.topic, "*");
        List<String> wanted = new ArrayList<>(sent.get("A"));
        wanted.addAll(sent.get("B"));
        aOrB.awaitExactly(wanted, 60);
        c.awaitExactly(sent.get("C"), 60);
        all.awaitExactly(everything, 60);
        // A consumer that waits at the end gets the next message at once (long polling).
        long from = System.nanoTime();
        f.send(producer, Fixture.message(f.topic, "C", "late"));
        Fixture.await(10, () -> "the late message", () -> c.bodies().contains("late"));
        long ms = (System.nanoTime() - from) / 1_000_000;
        Fixture.check(ms < 3000, "a parked pull answered only after " + ms + " ms");
    }

    static void ordered(Fixture f) throws Exception {
        DefaultMQProducer producer = f.producer();
        f.createTopic(producer, f.topic);
        int keys = 8;
        int each = 60;
        Map<String, List<Integer>> seen = new ConcurrentHashMap<>();
        AtomicInteger suspended = new AtomicInteger();
        // Two consumers of one group: queues are locked, so each queue has one reader at a time.
        for (int c = 0; c < 2; c++) {
            DefaultMQPushConsumer consumer = f.consumer("orderly");
            consumer.subscribe(f.topic, "T");
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
                MessageExt message = messages.get(0);
                String[] parts = Fixture.body(message).split("-");
                int number = Integer.parseInt(parts[1]);
                if (number == 30 && message.getReconsumeTimes() == 0 && suspended.incrementAndGet() <= keys) {
                    context.setSuspendCurrentQueueTimeMillis(100);
                    return ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT;
                }
                seen.computeIfAbsent(parts[0], k -> java.util.Collections.synchronizedList(new ArrayList<>())).add(number);
                return ConsumeOrderlyStatus.SUCCESS;
            });
            consumer.start();
        }
        for (int n = 0; n < each; n++) {
            for (int k = 0; k < keys; k++) {
                Message message = Fixture.message(f.topic, "T", "k" + k + "-" + n);
                SendResult result = producer.send(message,
                    (queues, m, key) -> queues.get((Integer) key % queues.size()), k);
                Fixture.check(result.getSendStatus() == SendStatus.SEND_OK, "send answered " + result);
            }
        }
        Fixture.await(90, () -> "received " + sizes(seen) + " of " + each + " per key",
            () -> seen.size() == keys && seen.values().stream().allMatch(l -> l.size() >= each));
        seen.forEach((key, numbers) -> {
            int next = 0;
            for (int number : new ArrayList<>(numbers)) {
                // A rebalance between the two consumers may deliver again, never ahead.
                Fixture.check(number <= next, key + ": " + number + " came before " + next);
                next = Math.max(next, number + 1);
            }
        });
        Fixture.check(suspended.get() > 0, "no message was suspended");
    }

    private static Map<String, Integer> sizes(Map<String, List<Integer>> seen) {
        Map<String, Integer> sizes = new HashMap<>();
        seen.forEach((key, numbers) -> sizes.put(key, numbers.size()));
        return sizes;
    }

    static void delayLevel(Fixture f) throws Exception {
        DefaultMQProducer producer = f.producer();
        f.createTopic(producer, f.topic);
        Map<String, Long> arrived = new ConcurrentHashMap<>();
        DefaultMQPushConsumer consumer = f.consumer("consumer");
        consumer.subscribe(f.topic, "T");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            messages.forEach(m -> arrived.putIfAbsent(Fixture.body(m), System.currentTimeMillis()));
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        f.send(producer, Fixture.message(f.topic, "T", "0"));
        Fixture.await(30, () -> "the message without a delay", () -> arrived.containsKey("0"));
        int[] delays = {0, 1000, 5000, 10_000};
        Map<String, Long> sent = new HashMap<>();
        for (int level = 3; level >= 1; level--) {
            for (int i = 0; i < 5; i++) {
                Message message = Fixture.message(f.topic, "T", level + "-" + i);
                message.setDelayTimeLevel(level);
                sent.put(level + "-" + i, System.currentTimeMillis());
                f.send(producer, message);
            }
        }
        Fixture.await(40, () -> arrived.size() - 1 + " of 15 delayed messages", () -> arrived.size() == 16);
        sent.forEach((body, from) -> {
            long took = arrived.get(body) - from;
            long delay = delays[body.charAt(0) - '0'];
            Fixture.check(took >= delay - 50 && took <= delay + 4000, body + " came after " + took + " ms");
        });
    }

    static void retryToDeadLetter(Fixture f) throws Exception {
        DefaultMQProducer producer = f.producer();
        f.createTopic(producer, f.topic);
        ConcurrentLinkedQueue<Integer> attempts = new ConcurrentLinkedQueue<>();
        ConcurrentLinkedQueue<String> topics = new ConcurrentLinkedQueue<>();
        DefaultMQPushConsumer consumer = f.consumer("consumer");
        consumer.setMaxReconsumeTimes(2);
        consumer.subscribe(f.topic, "T");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            MessageExt message = messages.get(0);
            if (Fixture.body(message).equals("good")) {
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            }
            attempts.add(message.getReconsumeTimes());
            topics.add(message.getTopic());
            context.setDelayLevelWhenNextConsume(1);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        });
        consumer.start();
        f.send(producer, Fixture.message(f.topic, "T", "good"));
        f.send(producer, Fixture.message(f.topic, "T", "bad"));
        Fixture.await(100, () -> "attempts " + attempts, () -> attempts.size() >= 3);
        String dead = "%DLQ%" + f.group("consumer");
        MessageExt letter = Pulls.awaitFirst(f, dead, 60);
        Fixture.check(Fixture.body(letter).equals("bad"), "the dead letter is " + Fixture.body(letter));
        Fixture.check(new ArrayList<>(attempts).equals(java.util.Arrays.asList(0, 1, 2)), "attempts " + attempts);
        Fixture.check(topics.stream().allMatch(f.topic::equals), "delivered under the names " + topics);
        Fixture.check(f.topic.equals(letter.getProperty("RETRY_TOPIC")), "RETRY_TOPIC is " + letter.getProperty("RETRY_TOPIC"));
    }

    static void broadcast(Fixture f) throws Exception {
        DefaultMQProducer producer = f.producer();
        f.createTopic(producer, f.topic);
        List<Fixture.Taken> all = new ArrayList<>();
        for (int c = 0; c < 2; c++) {
            Fixture.Taken taken = new Fixture.Taken();
            all.add(taken);
            DefaultMQPushConsumer consumer = f.consumer("everyone");
            setBroadcasting(consumer);
            consumer.subscribe(f.topic, "*");
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                messages.forEach(taken::add);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
        }
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < 30; i++) {
            bodies.add("all-" + i);
            f.send(producer, Fixture.message(f.topic, "T", "all-" + i));
        }
        for (Fixture.Taken taken : all) {
            taken.awaitExactly(bodies, 60);
        }
    }

    /** The enum moved to another package between 4.x and 5.x. */
    private static void setBroadcasting(DefaultMQPushConsumer consumer) throws Exception {
        for (Method method : DefaultMQPushConsumer.class.getMethods()) {
            if (method.getName().equals("setMessageModel")) {
                Class<?> model = method.getParameterTypes()[0];
                method.invoke(consumer, model.getField("BROADCASTING").get(null));
                return;
            }
        }
        throw new Fixture.Failed("this client has no setMessageModel");
    }

    /** A group that comes back goes on where it stopped. */
    static void offsetsSurviveRestart(Fixture f) throws Exception {
        DefaultMQProducer producer = f.producer();
        f.createTopic(producer, f.topic);
        for (int round = 0; round < 3; round++) {
            List<String> bodies = new ArrayList<>();
            for (int i = 0; i < 40; i++) {
                bodies.add("round-" + round + "-" + i);
                f.send(producer, Fixture.message(f.topic, "T", "round-" + round + "-" + i));
            }
            Fixture.Taken taken = new Fixture.Taken();
            DefaultMQPushConsumer consumer = f.consumer("same");
            consumer.subscribe(f.topic, "*");
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                messages.forEach(taken::add);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            taken.awaitExactly(bodies, 60);
            consumer.shutdown();
        }
    }
}
