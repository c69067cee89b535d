import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Half messages: decided at once, rolled back, or asked for later by the broker. */
final class Transactions {
    private Transactions() {
    }

    static void commit(Fixture f) throws Exception {
        Round round = new Round(f, body -> LocalTransactionState.COMMIT_MESSAGE, null);
        List<String> sent = round.send("commit", 20);
        round.taken.awaitExactly(sent, 30);
        for (MessageExt message : round.taken.messages) {
            Fixture.check(message.getTransactionId() != null, "no transaction id in " + message);
        }
        Fixture.check(round.checks.isEmpty(), "decided ones were checked again: " + round.checks);
    }

    static void rollback(Fixture f) throws Exception {
        Round round = new Round(f, body -> body.contains("keep")
            ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE, null);
        round.send("drop", 10);
        List<String> kept = round.send("keep", 10);
        round.send("drop-more", 10);
        round.taken.awaitExactly(kept, 30);
        Thread.sleep(3000);
        Fixture.check(round.taken.count() == 10, "a rolled back message came: " + round.taken.bodies());
    }

    static void checkBack(Fixture f) throws Exception {
        Round round = new Round(f, body -> LocalTransactionState.UNKNOW, body -> body.contains("keep")
            ? LocalTransactionState.COMMIT_MESSAGE : LocalTransactionState.ROLLBACK_MESSAGE);
        round.send("drop", 5);
        List<String> kept = round.send("keep", 5);
        Fixture.check(round.taken.count() == 0, "an undecided message was delivered: " + round.taken.bodies());
        Fixture.await(100, () -> "checked " + round.checks + ", delivered " + round.taken.bodies(),
            () -> round.checks.size() == 10 && round.taken.bodies().containsAll(kept));
        Thread.sleep(2000);
        // Java's broker may check a decided one once more and deliver it twice (its op messages lag by seconds); with
        // INTEROP_EXACT, which our own tests set, each is delivered once.
        Fixture.check(round.taken.bodies().equals(new java.util.TreeSet<>(kept)), "delivered " + round.taken.bodies());
        Fixture.check(System.getenv("INTEROP_EXACT") == null || round.taken.count() == kept.size(),
            "5 messages were delivered " + round.taken.count() + " times, checked " + round.checks);
        Interop.say("STATS tx-checkback delivered=" + round.taken.count() + " checks=" + round.checks);
    }

    /** A transactional producer, its listener's answers, and a consumer of the same topic. */
    private static final class Round {
        final Fixture f;
        final TransactionMQProducer producer;
        final Fixture.Taken taken;
        final Map<String, Integer> checks = new ConcurrentHashMap<>();

        Round(Fixture f, Function<String, LocalTransactionState> local, Function<String, LocalTransactionState> later)
            throws Exception {
            this.f = f;
            DefaultMQProducer plain = f.producer();
            f.createTopic(plain, f.topic);
            producer = new TransactionMQProducer(f.group("tx"));
            producer.setNamesrvAddr(f.nameServer);
            producer.setInstanceName(Fixture.uniqueInstance());
            producer.setTransactionListener(new TransactionListener() {
                @Override
                public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                    return local.apply(Fixture.body(message));
                }

                @Override
                public LocalTransactionState checkLocalTransaction(MessageExt message) {
                    checks.merge(Fixture.body(message), 1, Integer::sum);
                    return later == null ? LocalTransactionState.UNKNOW : later.apply(Fixture.body(message));
                }
            });
            producer.start();
            f.onClose(producer::shutdown);
            taken = f.consume("consumer", f.topic, "*");
        }

        List<String> send(String prefix, int count) throws Exception {
            List<String> bodies = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                String body = prefix + "-" + i;
                TransactionSendResult result = producer.sendMessageInTransaction(Fixture.message(f.topic, "T", body), null);
                Fixture.check(result.getSendStatus() == SendStatus.SEND_OK, "half message answered " + result);
                bodies.add(body);
            }
            return bodies;
        }
    }
}
