package main

import (
	"context"
	"fmt"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func (f *fixture) pullConsumer(role, topic string) rocketmq.PullConsumer {
	c, err := rocketmq.NewPullConsumer(
		consumer.WithNameServer(f.nameServer),
		consumer.WithGroupName(f.group(role)),
		consumer.WithInstance(uniqueInstance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	)
	must(err, "make a pull consumer")
	must(c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}), "subscribe")
	must(c.Start(), "start a pull consumer")
	f.onClose(func() { _ = c.Shutdown() })
	return c
}

// pullAll reads a topic's queues of one broker from their beginning until it has count messages.
func (f *fixture) pullAll(topic, broker string, queues, count, seconds int) []*primitive.MessageExt {
	c := f.pullConsumer("pull-all", f.topic)
	var got []*primitive.MessageExt
	next := make([]int64, queues)
	await(seconds, func() string { return fmt.Sprintf("%d of %d messages of %s", len(got), count, topic) }, func() bool {
		for q := 0; q < queues; q++ {
			queue := &primitive.MessageQueue{Topic: topic, BrokerName: broker, QueueId: q}
			result, err := c.PullFrom(context.Background(), queue, next[q], 32)
			if err != nil || result.Status != primitive.PullFound {
				continue
			}
			next[q] = result.NextBeginOffset
			for _, m := range result.GetMessageExts() {
				if m.GetTags() != "seed" {
					got = append(got, m)
				}
			}
		}
		return len(got) >= count
	})
	return got
}

// pullFrom: the caller names queue and offset.
func pullFrom(f *fixture) {
	p := f.producer()
	queue := f.createTopic(p, f.topic).MessageQueue
	var bodies []string
	for i := 0; i < 100; i++ {
		body := fmt.Sprintf("pull-%d", i)
		bodies = append(bodies, body)
		f.send(p, message(f.topic, "T", body))
	}
	t := &taken{times: map[string]int{}}
	for _, m := range f.pullAll(f.topic, queue.BrokerName, 4, 100, 60) {
		t.add(m)
	}
	t.awaitExactly(bodies, 1)
}

// pollAndAck: the client keeps offsets, the caller acknowledges.
func pollAndAck(f *fixture) {
	p := f.producer()
	f.createTopic(p, f.topic)
	var bodies []string
	for i := 0; i < 60; i++ {
		body := fmt.Sprintf("poll-%d", i)
		bodies = append(bodies, body)
		f.send(p, message(f.topic, "T", body))
	}
	c := f.pullConsumer("poll", f.topic)
	t := &taken{times: map[string]int{}}
	await(60, func() string { return t.difference(bodies) }, func() bool {
		request, err := c.Poll(context.Background(), 500*time.Millisecond)
		if err == nil {
			for _, m := range request.GetMsgList() {
				t.add(m)
			}
			c.ACK(context.Background(), request, consumer.ConsumeSuccess)
		}
		return t.difference(bodies) == ""
	})
	t.awaitExactly(bodies, 1)
}
