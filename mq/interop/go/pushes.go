package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

func tags(f *fixture) {
	p := f.producer()
	f.createTopic(p, f.topic)
	sent := map[string][]string{}
	var everything []string
	for i := 0; i < 40; i++ {
		tag := []string{"A", "B", "C", ""}[i%4]
		body := fmt.Sprintf("tag-%s-%d", tag, i)
		f.send(p, message(f.topic, tag, body))
		sent[tag] = append(sent[tag], body)
		everything = append(everything, body)
	}
	aOrB := f.take("aorb", f.topic, "A || B")
	c := f.take("c", f.topic, "C")
	all := f.take("all", f.topic, "*")
	aOrB.awaitExactly(append(append([]string{}, sent["A"]...), sent["B"]...), 60)
	c.awaitExactly(sent["C"], 60)
	all.awaitExactly(everything, 60)
	// A consumer that waits at the end gets the next message at once (long polling).
	from := time.Now()
	f.send(p, message(f.topic, "C", "late"))
	await(10, func() string { return "the late message" }, func() bool { return c.has("late") })
	check(time.Since(from) < 3*time.Second, "a parked pull answered only after %s", time.Since(from))
}

func ordered(f *fixture) {
	p := f.producer(producer.WithQueueSelector(producer.NewHashQueueSelector()))
	f.createTopic(p, f.topic)
	const keys, each = 8, 60
	var lock sync.Mutex
	seen := map[string][]int{}
	f.consumer("orderly", f.topic, "T", func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		lock.Lock()
		defer lock.Unlock()
		for _, m := range messages {
			key, number := keyAndNumber(string(m.Body))
			seen[key] = append(seen[key], number)
		}
		return consumer.ConsumeSuccess, nil
	}, consumer.WithConsumerOrder(true))
	for n := 0; n < each; n++ {
		for k := 0; k < keys; k++ {
			key := fmt.Sprintf("k%d", k)
			f.send(p, message(f.topic, "T", fmt.Sprintf("%s-%d", key, n)).WithShardingKey(key))
		}
	}
	complete := func() bool {
		lock.Lock()
		defer lock.Unlock()
		for _, numbers := range seen {
			if len(numbers) < each {
				return false
			}
		}
		return len(seen) == keys
	}
	await(90, func() string { return "not every key came completely" }, complete)
	lock.Lock()
	defer lock.Unlock()
	for key, numbers := range seen {
		next := 0
		for _, number := range numbers {
			// Some may be delivered again, none ahead.
			check(number <= next, "%s: %d came before %d", key, number, next)
			if number == next {
				next++
			}
		}
	}
}

func keyAndNumber(body string) (string, int) {
	dash := strings.LastIndex(body, "-")
	number, err := strconv.Atoi(body[dash+1:])
	must(err, "read a number")
	return body[:dash], number
}

func delayLevel(f *fixture) {
	p := f.producer()
	f.createTopic(p, f.topic)
	var arrived sync.Map
	var count counter
	f.consumer("consumer", f.topic, "T", func(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		for _, m := range messages {
			if _, again := arrived.LoadOrStore(string(m.Body), time.Now()); !again {
				count.add(1)
			}
		}
		return consumer.ConsumeSuccess, nil
	})
	f.send(p, message(f.topic, "T", "0"))
	await(30, func() string { return "the message without a delay" }, func() bool { return count.get() == 1 })
	delays := []time.Duration{0, time.Second, 5 * time.Second, 10 * time.Second}
	sent := map[string]time.Time{}
	for level := 3; level >= 1; level-- {
		for i := 0; i < 5; i++ {
			body := fmt.Sprintf("%d-%d", level, i)
			sent[body] = time.Now()
			f.send(p, message(f.topic, "T", body).WithDelayTimeLevel(level))
		}
	}
	await(40, func() string { return fmt.Sprint(count.get()-1, " of 15 delayed messages") }, func() bool { return count.get() == 16 })
	for body, from := range sent {
		at, _ := arrived.Load(body)
		took, delay := at.(time.Time).Sub(from), delays[body[0]-'0']
		check(took >= delay-50*time.Millisecond && took <= delay+4*time.Second, "%s came after %s", body, took)
	}
}

func retryToDeadLetter(f *fixture) {
	p := f.producer()
	queue := f.createTopic(p, f.topic).MessageQueue
	var lock sync.Mutex
	var attempts []int32
	f.consumer("consumer", f.topic, "T", func(ctx context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		if string(messages[0].Body) == "good" {
			return consumer.ConsumeSuccess, nil
		}
		lock.Lock()
		defer lock.Unlock()
		attempts = append(attempts, messages[0].ReconsumeTimes)
		if c, ok := primitive.GetConcurrentlyCtx(ctx); ok {
			c.DelayLevelWhenNextConsume = 1
		}
		return consumer.ConsumeRetryLater, nil
	}, consumer.WithMaxReconsumeTimes(2))
	f.send(p, message(f.topic, "T", "good"))
	f.send(p, message(f.topic, "T", "bad"))
	made := func() []int32 { lock.Lock(); defer lock.Unlock(); return append([]int32{}, attempts...) }
	await(100, func() string { return fmt.Sprint("attempts ", made()) }, func() bool { return len(made()) >= 3 })
	dead := "%DLQ%" + f.group("consumer")
	letters := f.pullAll(dead, queue.BrokerName, 1, 1, 60)
	check(string(letters[0].Body) == "bad", "the dead letter is %s", letters[0].Body)
	check(fmt.Sprint(made()) == "[0 1 2]", "attempts %v", made())
}

func broadcast(f *fixture) {
	p := f.producer()
	f.createTopic(p, f.topic)
	var all []*taken
	for c := 0; c < 2; c++ {
		all = append(all, f.take("everyone", f.topic, "*", consumer.WithConsumerModel(consumer.BroadCasting)))
	}
	var bodies []string
	for i := 0; i < 30; i++ {
		body := fmt.Sprintf("all-%d", i)
		bodies = append(bodies, body)
		f.send(p, message(f.topic, "T", body))
	}
	for _, t := range all {
		t.awaitExactly(bodies, 60)
	}
}

// offsetsSurviveRestart: a group that comes back goes on where it stopped.
func offsetsSurviveRestart(f *fixture) {
	p := f.producer()
	f.createTopic(p, f.topic)
	for round := 0; round < 3; round++ {
		var bodies []string
		for i := 0; i < 40; i++ {
			body := fmt.Sprintf("round-%d-%d", round, i)
			bodies = append(bodies, body)
			f.send(p, message(f.topic, "T", body))
		}
		t := &taken{times: map[string]int{}}
		stop := f.consumer("same", f.topic, "*", t.handle)
		t.awaitExactly(bodies, 60)
		stop()
	}
}
