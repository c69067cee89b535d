import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages that are not plain, sent one after the other while leaders die: batches, asynchronous, delayed, transactional. */
final class OtherKinds {
    private final Fixture f;
    private final DefaultMQProducer producer;
    private final TransactionMQProducer transactions;
    /** Rolled back: none of them may ever be consumed. */
    final Set<String> dropped = ConcurrentHashMap.newKeySet();

    OtherKinds(Fixture f, DefaultMQProducer producer) throws Exception {
        this.f = f;
        this.producer = producer;
        this.transactions = new TransactionMQProducer(f.group("tx"));
        transactions.setNamesrvAddr(f.nameServer);
        transactions.setInstanceName(Fixture.uniqueInstance());
        transactions.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                String body = Fixture.body(message);
                return body.startsWith("later") ? LocalTransactionState.UNKNOW : decided(body);
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return decided(Fixture.body(message));
            }
        });
        transactions.start();
        f.onClose(transactions::shutdown);
    }

    private LocalTransactionState decided(String body) {
        return body.startsWith("drop") ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.COMMIT_MESSAGE;
    }

    /** Sends the {@code n}-th one; puts what must be consumed once it is acknowledged into {@code bodies}. */
    SendResult send(int n, List<String> bodies) throws Exception {
        switch (n % 6) {
            case 0:
                bodies.add("batch-" + n + "-a");
                bodies.add("batch-" + n + "-b");
                return producer.send(List.of(message(bodies.get(0)), message(bodies.get(1))));
            case 1:
                bodies.add("delayed-" + n);
                Message delayed = message(bodies.get(0));
                delayed.setDelayTimeLevel(1);
                return producer.send(delayed);
            case 2:
                bodies.add("async-" + n);
                return asynchronously(message(bodies.get(0)));
            case 3:
                bodies.add("committed-" + n);
                return transactions.sendMessageInTransaction(message(bodies.get(0)), null);
            case 4:
                bodies.add("later-" + n);
                return transactions.sendMessageInTransaction(message(bodies.get(0)), null);
            default:
                dropped.add("drop-" + n);
                return transactions.sendMessageInTransaction(message("drop-" + n), null);
        }
    }

    private Message message(String body) {
        return Fixture.message(f.topic, "T", body);
    }

    private SendResult asynchronously(Message message) throws Exception {
        CompletableFuture<SendResult> answer = new CompletableFuture<>();
        producer.send(message, new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                answer.complete(result);
            }

            @Override
            public void onException(Throwable e) {
                answer.completeExceptionally(e);
            }
        });
        return answer.get();
    }
}
