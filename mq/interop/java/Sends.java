import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The ways to send, and what a sender can ask about afterwards. */
final class Sends {
    private Sends() {
    }

    static void sync(Fixture f) throws Exception {
        DefaultMQProducer producer = f.producer();
        List<String> bodies = new ArrayList<>();
        Map<MessageQueue, Long> next = new HashMap<>();
        Set<String> ids = new HashSet<>();
        for (int i = 0; i < 40; i++) {
            Message message = Fixture.message(f.topic, "T", "sync-" + i);
            message.putUserProperty("number", String.valueOf(i));
            SendResult result = f.send(producer, message);
            bodies.add("sync-" + i);
            Fixture.check(ids.add(result.getMsgId()) && ids.add(result.getOffsetMsgId()), "an id came twice: " + result);
            long expected = next.getOrDefault(result.getMessageQueue(), 0L);
            Fixture.check(result.getQueueOffset() == expected, "queue offset not " + expected + ": " + result);
            next.put(result.getMessageQueue(), expected + 1);
        }
        // Above 4 KiB the client compresses; the consumer must get the same bytes back.
        String large = new String(new char[200_000]).replace('\0', 'x');
        Message compressed = Fixture.message(f.topic, "T", large);
        compressed.setKeys("key-large");
        f.send(producer, compressed);
        bodies.add(large);
        Fixture.Taken taken = f.consume("consumer", f.topic, "*");
        taken.awaitExactly(bodies, 60);
        for (MessageExt message : taken.messages) {
            String body = Fixture.body(message);
            String key = body.equals(large) ? "key-large" : "key-" + body;
            Fixture.check(key.equals(message.getKeys()), "keys are " + message.getKeys());
            Fixture.check(message.getBornTimestamp() <= message.getStoreTimestamp() + 1000, "times of " + message);
            if (body.startsWith("sync-")) {
                Fixture.check(body.equals("sync-" + message.getUserProperty("number")), "user property of " + body);
            }
        }
    }

    static void async(Fixture f) throws Exception {
        DefaultMQProducer producer = f.producer();
        f.createTopic(producer, f.topic);
        int count = 200;
        List<String> bodies = new ArrayList<>();
        ConcurrentLinkedQueue<String> problems = new ConcurrentLinkedQueue<>();
        CountDownLatch answers = new CountDownLatch(count);
        for (int i = 0; i < count; i++) {
            bodies.add("async-" + i);
            producer.send(Fixture.message(f.topic, "T", "async-" + i), new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    if (result.getSendStatus() != SendStatus.SEND_OK) {
                        problems.add(result.toString());
                    }
                    answers.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    problems.add(e.toString());
                    answers.countDown();
                }
            });
        }
        Fixture.check(answers.await(30, TimeUnit.SECONDS), answers.getCount() + " callbacks never came");
        Fixture.check(problems.isEmpty(), problems.size() + " sends failed, first: " + problems.peek());
        f.consume("consumer", f.topic, "*").awaitExactly(bodies, 60);
    }

    static void oneway(Fixture f) throws Exception {
        DefaultMQProducer producer = f.producer();
        f.createTopic(producer, f.topic);
        List<String> bodies = new ArrayList<>();
        for (int i = 0; i < 50; i++) {
            bodies.add("oneway-" + i);
            producer.sendOneway(Fixture.message(f.topic, "T", "oneway-" + i));
        }
        f.consume("consumer", f.topic, "*").awaitExactly(bodies, 60);
    }

    static void batch(Fixture f) throws Exception {
        DefaultMQProducer producer = f.producer();
        List<String> bodies = new ArrayList<>();
        for (int round = 0; round < 3; round++) {
            List<Message> messages = new ArrayList<>();
            for (int i = 0; i < 50; i++) {
                String body = "batch-" + round + "-" + i;
                bodies.add(body);
                messages.add(Fixture.message(f.topic, i % 2 == 0 ? "even" : "odd", body));
            }
            SendResult result = producer.send(messages);
            Fixture.check(result.getSendStatus() == SendStatus.SEND_OK, "batch answered " + result);
            Fixture.check(result.getMsgId().split(",").length == 50, "not 50 client ids: " + result.getMsgId());
            Fixture.check(result.getOffsetMsgId().split(",").length == 50, "not 50 ids: " + result.getOffsetMsgId());
        }
        Fixture.Taken all = f.consume("all", f.topic, "*");
        Fixture.Taken even = f.consume("even", f.topic, "even");
        all.awaitExactly(bodies, 60);
        Fixture.await(30, () -> "75 even messages, got " + even.bodies().size(), () -> even.bodies().size() == 75);
        // A batch lies in one queue, one offset a message, in the order it was given.
        Map<String, long[]> firstAndLast = new HashMap<>();
        for (MessageExt message : all.messages) {
            String[] parts = Fixture.body(message).split("-");
            long first = message.getQueueOffset() - Long.parseLong(parts[2]);
            long[] seen = firstAndLast.computeIfAbsent(parts[1], k -> new long[] {first, message.getQueueId()});
            Fixture.check(seen[0] == first && seen[1] == message.getQueueId(), "batch " + parts[1] + " is not in one row");
        }
    }

    /** Requests that must be refused with a reason, without harm to the next send. */
    static void refused(Fixture f) throws Exception {
        DefaultMQProducer producer = f.producer();
        f.createTopic(producer, f.topic);
        producer.setMaxMessageSize(64 << 20);
        producer.setCompressMsgBodyOverHowmuch(128 << 20);
        byte[] large = new byte[(4 << 20) + 1000];
        Arrays.fill(large, (byte) 'x');
        try {
            SendResult result = producer.send(new Message(f.topic, large));
            throw new Fixture.Failed("a message above maxMessageSize was answered " + result);
        } catch (MQClientException | org.apache.rocketmq.client.exception.MQBrokerException e) {
            int code = e instanceof MQClientException ? ((MQClientException) e).getResponseCode()
                : ((org.apache.rocketmq.client.exception.MQBrokerException) e).getResponseCode();
            Fixture.check(code == 13, "expected MESSAGE_ILLEGAL (13), got " + code + ": " + e.getMessage());
        }
        f.send(producer, Fixture.message(f.topic, "T", "after"));
    }

    static void query(Fixture f) throws Exception {
        DefaultMQProducer producer = f.producer();
        f.createTopic(producer, f.topic);
        long before = System.currentTimeMillis();
        Message message = new Message(f.topic, "T", "order-" + f.run + " other-key", "find me".getBytes(StandardCharsets.UTF_8));
        SendResult sent = f.send(producer, message);
        MessageExt byOffsetId = producer.viewMessage(f.topic, sent.getOffsetMsgId());
        Fixture.check(Fixture.body(byOffsetId).equals("find me"), "by offset id: " + byOffsetId);
        // The index is written behind the send's answer.
        MessageExt[] found = new MessageExt[1];
        Fixture.await(20, () -> "nothing by unique key " + sent.getMsgId(), () -> {
            try {
                found[0] = producer.viewMessage(f.topic, sent.getMsgId());
                return found[0] != null;
            } catch (Exception e) {
                return false;
            }
        });
        Fixture.check(Fixture.body(found[0]).equals("find me"), "by unique key: " + found[0]);
        for (String key : new String[] {"order-" + f.run, "other-key"}) {
            QueryResult byKey = producer.queryMessage(f.topic, key, 10, before - 60_000, before + 600_000);
            Fixture.check(byKey.getMessageList().size() == 1, key + " found " + byKey.getMessageList().size());
        }
        MessageQueue queue = sent.getMessageQueue();
        long max = producer.maxOffset(queue);
        Fixture.check(max == sent.getQueueOffset() + 1, "max offset " + max + " after " + sent);
        Fixture.check(producer.minOffset(queue) == 0, "min offset " + producer.minOffset(queue));
        long at = producer.searchOffset(queue, byOffsetId.getStoreTimestamp());
        Fixture.check(at <= sent.getQueueOffset(), "offset by time " + at + " after " + sent);
        long earliest = producer.earliestMsgStoreTime(producer.fetchPublishMessageQueues(f.topic).get(0));
        Fixture.check(earliest <= System.currentTimeMillis(), "earliest store time " + earliest);
    }
}
