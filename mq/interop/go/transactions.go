package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

type decide func(body string) primitive.LocalTransactionState

func always(state primitive.LocalTransactionState) decide {
	return func(string) primitive.LocalTransactionState { return state }
}

func keepers(body string) primitive.LocalTransactionState {
	if strings.Contains(body, "keep") {
		return primitive.CommitMessageState
	}
	return primitive.RollbackMessageState
}

// listener answers from two functions and counts check-backs by body.
type listener struct {
	now, later decide
	lock       sync.Mutex
	checks     map[string]int
}

func (l *listener) ExecuteLocalTransaction(m *primitive.Message) primitive.LocalTransactionState {
	return l.now(string(m.Body))
}

func (l *listener) CheckLocalTransaction(m *primitive.MessageExt) primitive.LocalTransactionState {
	l.lock.Lock()
	defer l.lock.Unlock()
	l.checks[string(m.Body)]++
	return l.later(string(m.Body))
}

func (l *listener) checked() int {
	l.lock.Lock()
	defer l.lock.Unlock()
	return len(l.checks)
}

type round struct {
	f        *fixture
	producer rocketmq.TransactionProducer
	listener *listener
	taken    *taken
}

func newRound(f *fixture, now, later decide) *round {
	f.createTopic(f.producer(), f.topic)
	l := &listener{now: now, later: later, checks: map[string]int{}}
	p, err := rocketmq.NewTransactionProducer(l,
		producer.WithNameServer(f.nameServer),
		producer.WithGroupName(f.group("tx")),
		producer.WithInstanceName(uniqueInstance()))
	must(err, "make a transactional producer")
	must(p.Start(), "start a transactional producer")
	f.onClose(func() { _ = p.Shutdown() })
	return &round{f: f, producer: p, listener: l, taken: f.take("consumer", f.topic, "*")}
}

func (r *round) send(prefix string, count int) (bodies []string) {
	for i := 0; i < count; i++ {
		body := fmt.Sprintf("%s-%d", prefix, i)
		result, err := r.producer.SendMessageInTransaction(context.Background(), message(r.f.topic, "T", body))
		must(err, "send a half message")
		check(result.Status == primitive.SendOK, "half message answered %s", result)
		bodies = append(bodies, body)
	}
	return bodies
}

func txCommit(f *fixture) {
	r := newRound(f, always(primitive.CommitMessageState), always(primitive.UnknowState))
	r.taken.awaitExactly(r.send("commit", 20), 30)
}

func txRollback(f *fixture) {
	r := newRound(f, keepers, always(primitive.UnknowState))
	r.send("drop", 10)
	kept := r.send("keep", 10)
	r.send("drop-more", 10)
	r.taken.awaitExactly(kept, 30)
	time.Sleep(3 * time.Second)
	check(r.taken.count() == 10, "a rolled back message came: %d instead of 10", r.taken.count())
}

func txCheckBack(f *fixture) {
	r := newRound(f, always(primitive.UnknowState), keepers)
	r.send("drop", 5)
	kept := r.send("keep", 5)
	check(r.taken.count() == 0, "an undecided message was delivered")
	await(100, func() string { return fmt.Sprintf("checked %d, %s", r.listener.checked(), r.taken.difference(kept)) },
		func() bool { return r.listener.checked() == 10 && r.taken.difference(kept) == "" })
	time.Sleep(2 * time.Second)
	check(r.taken.difference(kept) == "", "%s", r.taken.difference(kept))
	// Java's broker may check and deliver a decided one twice; with INTEROP_EXACT, which our own tests set, never.
	check(os.Getenv("INTEROP_EXACT") == "" || r.taken.count() == len(kept), "5 messages were delivered %d times", r.taken.count())
}
