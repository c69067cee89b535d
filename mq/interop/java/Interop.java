import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Runs scenarios with RocketMQ's own Java client against whatever NAMESRV_ADDR names.
 *
 * <pre>NAMESRV_ADDR=127.0.0.1:9876 java -cp CLASSES:LIB/* Interop sync async ...</pre>
 *
 * Prints "PASS name" or "FAIL name: why" per scenario and exits with 1 if one failed. The same source compiles against
 * clients 4.5.1, 4.9.8 and 5.3.3; what only newer ones have is looked up by name (LitePulls).
 */
public final class Interop {
    interface Scenario {
        void run(Fixture f) throws Exception;
    }

    /** Longest time one scenario may take; the retry and check-back ones wait for a broker's timers. */
    private static final long SCENARIO_SECONDS = 150;
    private static final int AT_ONCE = 6;

    private static final Map<String, Scenario> SCENARIOS = new LinkedHashMap<>();

    static {
        SCENARIOS.put("retry-dlq", Pushes::retryToDeadLetter);
        SCENARIOS.put("tx-checkback", Transactions::checkBack);
        SCENARIOS.put("tx-rollback", Transactions::rollback);
        SCENARIOS.put("tx-commit", Transactions::commit);
        SCENARIOS.put("ordered", Pushes::ordered);
        SCENARIOS.put("delay", Pushes::delayLevel);
        SCENARIOS.put("broadcast", Pushes::broadcast);
        SCENARIOS.put("offsets", Pushes::offsetsSurviveRestart);
        SCENARIOS.put("sync", Sends::sync);
        SCENARIOS.put("async", Sends::async);
        SCENARIOS.put("oneway", Sends::oneway);
        SCENARIOS.put("batch", Sends::batch);
        SCENARIOS.put("refused", Sends::refused);
        SCENARIOS.put("query", Sends::query);
        SCENARIOS.put("tags", Pushes::tags);
        SCENARIOS.put("pull", Pulls::oldPullConsumer);
        SCENARIOS.put("lite-pull", f -> byName("LitePulls", f));
        SCENARIOS.put("bodies", Bodies::write);
        SCENARIOS.put("across-kill", AcrossKill::run);
    }

    public static void main(String[] args) throws Exception {
        String nameServer = System.getenv("NAMESRV_ADDR");
        if (nameServer == null || nameServer.isEmpty() || args.length == 0) {
            System.err.println("usage: NAMESRV_ADDR=host:port Interop SCENARIO... of " + SCENARIOS.keySet());
            System.exit(2);
        }
        Fixture.warmUp(nameServer);
        ExecutorService pool = Executors.newCachedThreadPool();
        ExecutorService gate = Executors.newFixedThreadPool(AT_ONCE);
        List<Future<Boolean>> results = new ArrayList<>();
        for (String name : args) {
            results.add(gate.submit(() -> runOne(name, nameServer, pool)));
        }
        int failed = 0;
        for (Future<Boolean> result : results) {
            failed += result.get() ? 0 : 1;
        }
        System.out.println("DONE " + (args.length - failed) + " passed, " + failed + " failed");
        System.out.flush();
        // Client threads that are not daemons must not keep a finished run alive.
        Runtime.getRuntime().halt(failed == 0 ? 0 : 1);
    }

    private static boolean runOne(String name, String nameServer, ExecutorService pool) {
        long from = System.nanoTime();
        String why;
        try (Fixture fixture = new Fixture(name, nameServer)) {
            Scenario scenario = SCENARIOS.get(name);
            Fixture.check(scenario != null, "no such scenario; known are " + SCENARIOS.keySet());
            Future<?> run = pool.submit(() -> {
                scenario.run(fixture);
                return null;
            });
            long limit = name.equals("across-kill") ? 900 : SCENARIO_SECONDS;
            try {
                run.get(limit, TimeUnit.SECONDS);
                say(String.format("PASS %s (%.1f s)", name, (System.nanoTime() - from) / 1e9));
                return true;
            } catch (TimeoutException e) {
                run.cancel(true);
                why = "not finished after " + limit + " s";
            }
        } catch (Throwable e) {
            why = rootOf(e);
        }
        say("FAIL " + name + ": " + why);
        return false;
    }

    static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private static String rootOf(Throwable e) {
        StringBuilder text = new StringBuilder();
        Throwable at = e;
        for (int depth = 0; at != null && depth < 6; depth++, at = at.getCause()) {
            if (at instanceof java.util.concurrent.ExecutionException) {
                continue;
            }
            text.append(text.length() == 0 ? "" : " <- ");
            text.append(at instanceof Fixture.Failed ? "" : at.getClass().getSimpleName() + ": ");
            text.append(String.valueOf(at.getMessage()).replaceAll("\\s+", " "));
        }
        return text.toString();
    }

    /** Runs a class that an older client has no types for; its absence there is a failure, not a skip. */
    private static void byName(String type, Fixture f) throws Exception {
        try {
            Class.forName(type).getMethod("run", Fixture.class).invoke(null, f);
        } catch (java.lang.reflect.InvocationTargetException e) {
            throw e.getCause() instanceof Exception ? (Exception) e.getCause() : e;
        }
    }
}
