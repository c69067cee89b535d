// Interop runs scenarios with Apache RocketMQ's own Go client against whatever NAMESRV_ADDR names.
//
//	NAMESRV_ADDR=127.0.0.1:9876 interop sync async ...
//
// It prints "PASS name" or "FAIL name: why" per scenario and exits with 1 if one failed.
package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/rlog"
)

// atOnce bounds how many scenarios run side by side; most of them wait for timers.
const atOnce = 6

var scenarios = map[string]func(*fixture){
	"sync":         sendSync,
	"async":        sendAsync,
	"oneway":       sendOneway,
	"batch":        sendBatch,
	"tags":         tags,
	"ordered":      ordered,
	"delay":        delayLevel,
	"retry-dlq":    retryToDeadLetter,
	"broadcast":    broadcast,
	"offsets":      offsetsSurviveRestart,
	"pull":         pullFrom,
	"poll":         pollAndAck,
	"tx-commit":    txCommit,
	"tx-rollback":  txRollback,
	"tx-checkback": txCheckBack,
	"across-kill":  acrossKill,
}

func main() {
	rlog.SetLogLevel("fatal")
	nameServer := os.Getenv("NAMESRV_ADDR")
	if nameServer == "" || len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: NAMESRV_ADDR=host:port interop SCENARIO...")
		os.Exit(2)
	}
	var wait sync.WaitGroup
	var failed counter
	gate := make(chan struct{}, atOnce)
	for _, name := range os.Args[1:] {
		wait.Add(1)
		go func(name string) {
			defer wait.Done()
			gate <- struct{}{}
			defer func() { <-gate }()
			if !runOne(name, nameServer) {
				failed.add(1)
			}
		}(name)
	}
	wait.Wait()
	say("DONE %d passed, %d failed", len(os.Args)-1-failed.get(), failed.get())
	if failed.get() > 0 {
		os.Exit(1)
	}
}

func runOne(name, nameServer string) (passed bool) {
	from := time.Now()
	done := make(chan string, 1)
	go func() {
		f := newFixture(name, nameServer)
		defer func() {
			why := recover()
			f.close()
			if why != nil {
				done <- fmt.Sprint(why)
			} else {
				done <- ""
			}
		}()
		run, known := scenarios[name]
		check(known, "no such scenario")
		run(f)
	}()
	limit := 150 * time.Second
	if name == "across-kill" {
		limit = 15 * time.Minute
	}
	select {
	case why := <-done:
		if why == "" {
			say("PASS %s (%.1f s)", name, time.Since(from).Seconds())
			return true
		}
		say("FAIL %s: %s", name, why)
	case <-time.After(limit):
		say("FAIL %s: not finished after %s", name, limit)
	}
	return false
}

var sayLock sync.Mutex

func say(format string, args ...interface{}) {
	sayLock.Lock()
	defer sayLock.Unlock()
	fmt.Printf(format+"\n", args...)
}
