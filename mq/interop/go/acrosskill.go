package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const plainSenders, orderedSenders = 3, 2

// kills is the state of a run in which somebody else kills leaders: what was acknowledged, what came, in which order.
type kills struct {
	stop         atomic.Bool
	lock         sync.Mutex
	acknowledged map[string]bool
	consumed     map[string]int
	lastOfKey    map[string]int
	outOfOrder   []string
	firstFailure string
	lastSent     time.Time
	failed       counter
	repeated     counter
	longestGap   counter
	longestSend  counter
}

// acrossKill sends and consumes without a pause. It prints READY once messages flow both ways, goes on until a line
// "stop" (or the end) arrives on standard input, then checks that every acknowledged message was consumed and that each
// key's order held, and prints one STATS line.
func acrossKill(f *fixture) {
	k := &kills{acknowledged: map[string]bool{}, consumed: map[string]int{}, lastOfKey: map[string]int{}}
	orderedTopic := f.topic + "-ordered"
	p := f.producer()
	hashed := f.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()), producer.WithGroupName(f.group("hashed")))
	f.createTopic(p, f.topic)
	f.createTopic(p, orderedTopic)
	f.consumer("concurrent", f.topic, "T", k.concurrently)
	f.consumer("orderly", orderedTopic, "T", k.orderly, consumer.WithConsumerOrder(true))
	var senders sync.WaitGroup
	for i := 0; i < plainSenders+orderedSenders; i++ {
		senders.Add(1)
		go func(number int) {
			defer senders.Done()
			if number < plainSenders {
				k.sendPlain(p, f.topic, number)
			} else {
				k.sendOrdered(hashed, orderedTopic, number)
			}
		}(i)
	}
	await(60, func() string { return "the first messages" }, func() bool { return k.seen() > 200 })
	say("READY")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() && lines.Text() != "stop" {
	}
	k.stop.Store(true)
	senders.Wait()
	defer func() { say("%s", k.statistics()) }()
	await(90, func() string { return fmt.Sprint(k.missing(), " acknowledged messages never consumed") }, func() bool { return k.missing() == 0 })
	check(len(k.outOfOrder) == 0, "%d out of order, first: %v", len(k.outOfOrder), some(k.outOfOrder))
}

func (k *kills) sendPlain(p rocketmq.Producer, topic string, sender int) {
	for n := 0; !k.stop.Load(); n++ {
		body := fmt.Sprintf("plain-%d-%d", sender, n)
		if !k.send(p, message(topic, "T", body), body) {
			k.failed.add(1)
		}
	}
}

func (k *kills) sendOrdered(p rocketmq.Producer, topic string, sender int) {
	for n := 0; !k.stop.Load(); n++ {
		key := fmt.Sprintf("key%d%d", sender, n%4)
		body := fmt.Sprintf("%s-%d", key, n)
		for !k.send(p, message(topic, "T", body).WithShardingKey(key), body) {
			k.repeated.add(1)
			if k.stop.Load() {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func (k *kills) send(p rocketmq.Producer, m *primitive.Message, body string) bool {
	from := time.Now()
	result, err := p.SendSync(context.Background(), m)
	sent := err == nil && result.Status == primitive.SendOK
	now := time.Now()
	k.longestSend.max(int(now.Sub(from).Milliseconds()))
	k.lock.Lock()
	if sent {
		k.acknowledged[body] = true
		// The gap is the longest time in which no sender at all got an acknowledgement.
		if !k.lastSent.IsZero() {
			k.longestGap.max(int(now.Sub(k.lastSent).Milliseconds()))
		}
		k.lastSent = now
	} else if k.firstFailure == "" {
		k.firstFailure = fmt.Sprint(err, result)
	}
	k.lock.Unlock()
	time.Sleep(time.Millisecond)
	return sent
}

func (k *kills) concurrently(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	k.lock.Lock()
	defer k.lock.Unlock()
	for _, m := range messages {
		k.consumed[string(m.Body)]++
	}
	return consumer.ConsumeSuccess, nil
}

func (k *kills) orderly(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	k.lock.Lock()
	defer k.lock.Unlock()
	for _, m := range messages {
		body := string(m.Body)
		key, number := keyAndNumber(body)
		k.consumed[body]++
		// A repeated delivery is allowed; a message seen for the first time must be newer than all before it.
		last, known := k.lastOfKey[key]
		if known && k.consumed[body] == 1 && number < last {
			k.outOfOrder = append(k.outOfOrder, fmt.Sprintf("%s first came after %d", body, last))
		}
		if !known || number > last {
			k.lastOfKey[key] = number
		}
	}
	return consumer.ConsumeSuccess, nil
}

func (k *kills) seen() int {
	k.lock.Lock()
	defer k.lock.Unlock()
	return len(k.consumed)
}

func (k *kills) missing() int {
	k.lock.Lock()
	defer k.lock.Unlock()
	missing := 0
	for body := range k.acknowledged {
		if k.consumed[body] == 0 {
			missing++
		}
	}
	return missing
}

func (k *kills) statistics() string {
	missing := k.missing()
	k.lock.Lock()
	defer k.lock.Unlock()
	duplicated := 0
	for _, times := range k.consumed {
		duplicated += times - 1
	}
	return fmt.Sprintf("STATS across-kill acknowledged=%d missing=%d duplicated=%d out_of_order=%d failed_sends=%d "+
		"repeated_ordered_sends=%d longest_gap_ms=%d longest_send_ms=%d first_failure=%q", len(k.acknowledged), missing,
		duplicated, len(k.outOfOrder), k.failed.get(), k.repeated.get(), k.longestGap.get(), k.longestSend.get(), k.firstFailure)
}
