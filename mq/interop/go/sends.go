package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func sendSync(f *fixture) {
	p := f.producer()
	var bodies []string
	next := map[int]int64{}
	ids := map[string]bool{}
	for i := 0; i < 40; i++ {
		body := fmt.Sprintf("sync-%d", i)
		m := message(f.topic, "T", body)
		m.WithProperty("number", fmt.Sprint(i))
		result := f.send(p, m)
		bodies = append(bodies, body)
		check(!ids[result.MsgID] && !ids[result.OffsetMsgID], "an id came twice: %s", result)
		ids[result.MsgID], ids[result.OffsetMsgID] = true, true
		queue := result.MessageQueue.QueueId
		check(result.QueueOffset == next[queue], "queue offset not %d: %s", next[queue], result)
		next[queue]++
	}
	// Above 4 KiB the client compresses; the consumer must get the same bytes back.
	large := strings.Repeat("x", 200_000)
	f.send(p, primitive.NewMessage(f.topic, []byte(large)))
	bodies = append(bodies, large)
	t := f.take("consumer", f.topic, "*")
	t.awaitExactly(bodies, 60)
	for _, m := range t.messages {
		body := string(m.Body)
		check(body == large || m.GetKeys() == "key-"+body, "keys of %s are %s", body, m.GetKeys())
		check(body == large || body == "sync-"+m.GetProperty("number"), "user property of %s", body)
	}
}

func sendAsync(f *fixture) {
	p := f.producer()
	f.createTopic(p, f.topic)
	var bodies []string
	var problems sync.Map
	var wait sync.WaitGroup
	for i := 0; i < 200; i++ {
		body := fmt.Sprintf("async-%d", i)
		bodies = append(bodies, body)
		wait.Add(1)
		err := p.SendAsync(context.Background(), func(_ context.Context, result *primitive.SendResult, err error) {
			defer wait.Done()
			if err != nil || result.Status != primitive.SendOK {
				problems.Store(fmt.Sprint(err, result), true)
			}
		}, message(f.topic, "T", body))
		must(err, "send asynchronously")
	}
	wait.Wait()
	problems.Range(func(problem, _ interface{}) bool { panic(problem) })
	f.take("consumer", f.topic, "*").awaitExactly(bodies, 60)
}

func sendOneway(f *fixture) {
	p := f.producer()
	f.createTopic(p, f.topic)
	var bodies []string
	for i := 0; i < 50; i++ {
		body := fmt.Sprintf("oneway-%d", i)
		bodies = append(bodies, body)
		must(p.SendOneWay(context.Background(), message(f.topic, "T", body)), "send one-way")
	}
	f.take("consumer", f.topic, "*").awaitExactly(bodies, 60)
}

func sendBatch(f *fixture) {
	p := f.producer()
	f.createTopic(p, f.topic)
	var bodies []string
	for round := 0; round < 3; round++ {
		var messages []*primitive.Message
		for i := 0; i < 50; i++ {
			body := fmt.Sprintf("batch-%d-%d", round, i)
			bodies = append(bodies, body)
			messages = append(messages, message(f.topic, "T", body))
		}
		result := f.send(p, messages...)
		check(len(strings.Split(result.OffsetMsgID, ",")) == 50, "not 50 ids: %s", result.OffsetMsgID)
	}
	f.take("consumer", f.topic, "T").awaitExactly(bodies, 60)
}
