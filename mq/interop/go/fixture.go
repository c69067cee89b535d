package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// fixture is one scenario's own names, clients and checks; closing it shuts every client down.
type fixture struct {
	scenario   string
	nameServer []string
	run        string
	topic      string
	lock       sync.Mutex
	closers    []func()
}

var clients counter

func newFixture(scenario, nameServer string) *fixture {
	run := strconv.FormatInt(time.Now().UnixNano()&0xffffffffffff, 36)
	return &fixture{
		scenario:   scenario,
		nameServer: strings.Split(nameServer, ";"),
		run:        run,
		topic:      "go-" + scenario + "-" + run,
	}
}

func (f *fixture) group(role string) string { return "go-" + f.scenario + "-" + role + "-" + f.run }

func uniqueInstance() string { return fmt.Sprintf("go-%d-%d", os.Getpid(), clients.add(1)) }

func (f *fixture) onClose(closer func()) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.closers = append(f.closers, closer)
}

func (f *fixture) close() {
	f.lock.Lock()
	closers := f.closers
	f.closers = nil
	f.lock.Unlock()
	for i := len(closers) - 1; i >= 0; i-- {
		closers[i]()
	}
}

func (f *fixture) producer(options ...producer.Option) rocketmq.Producer {
	options = append([]producer.Option{
		producer.WithNameServer(f.nameServer),
		producer.WithGroupName(f.group("producer")),
		producer.WithInstanceName(uniqueInstance()),
	}, options...)
	p, err := rocketmq.NewProducer(options...)
	must(err, "make a producer")
	must(p.Start(), "start a producer")
	f.onClose(func() { _ = p.Shutdown() })
	return p
}

type handler = func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

// consumer starts a push consumer at the oldest message; the answer of stop is for scenarios that restart one.
func (f *fixture) consumer(role, topic, tags string, handle handler, options ...consumer.Option) (stop func()) {
	options = append([]consumer.Option{
		consumer.WithNameServer(f.nameServer),
		consumer.WithGroupName(f.group(role)),
		consumer.WithInstance(uniqueInstance()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}, options...)
	c, err := rocketmq.NewPushConsumer(options...)
	must(err, "make a consumer")
	must(c.Subscribe(topic, consumer.MessageSelector{Type: consumer.TAG, Expression: tags}, handle), "subscribe")
	must(c.Start(), "start a consumer")
	var once sync.Once
	stop = func() { once.Do(func() { _ = c.Shutdown() }) }
	f.onClose(stop)
	return stop
}

// take consumes everything that matches into the answered collection.
func (f *fixture) take(role, topic, tags string, options ...consumer.Option) *taken {
	t := &taken{times: map[string]int{}}
	f.consumer(role, topic, tags, t.handle, options...)
	return t
}

func message(topic, tag, body string) *primitive.Message {
	m := primitive.NewMessage(topic, []byte(body))
	if tag != "" {
		m.WithTag(tag)
	}
	return m.WithKeys([]string{"key-" + body})
}

func (f *fixture) send(p rocketmq.Producer, messages ...*primitive.Message) *primitive.SendResult {
	result, err := p.SendSync(context.Background(), messages...)
	must(err, "send")
	check(result.Status == primitive.SendOK, "send answered %s", result)
	return result
}

// createTopic makes the topic exist (the broker creates it at the first send): this client's consumers refuse to start
// without a route.
func (f *fixture) createTopic(p rocketmq.Producer, topic string) *primitive.SendResult {
	result := f.send(p, message(topic, "seed", "seed"))
	// The registration at the name server follows the send by a moment.
	time.Sleep(300 * time.Millisecond)
	return result
}

// taken is what a consumer has received, the seed message left out.
type taken struct {
	lock     sync.Mutex
	times    map[string]int
	messages []*primitive.MessageExt
}

func (t *taken) handle(_ context.Context, messages ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	for _, m := range messages {
		t.add(m)
	}
	return consumer.ConsumeSuccess, nil
}

func (t *taken) add(m *primitive.MessageExt) {
	if m.GetTags() == "seed" {
		return
	}
	t.lock.Lock()
	defer t.lock.Unlock()
	t.times[string(m.Body)]++
	t.messages = append(t.messages, m)
}

func (t *taken) has(body string) bool {
	t.lock.Lock()
	defer t.lock.Unlock()
	return t.times[body] > 0
}

func (t *taken) count() int {
	t.lock.Lock()
	defer t.lock.Unlock()
	return len(t.messages)
}

func (t *taken) difference(wanted []string) string {
	t.lock.Lock()
	defer t.lock.Unlock()
	var missing, extra []string
	want := map[string]bool{}
	for _, body := range wanted {
		want[body] = true
		if t.times[body] == 0 {
			missing = append(missing, body)
		}
	}
	for body := range t.times {
		if !want[body] {
			extra = append(extra, body)
		}
	}
	if len(missing)+len(extra) == 0 {
		return ""
	}
	sort.Strings(missing)
	return fmt.Sprintf("%d missing %v, %d unexpected %v", len(missing), some(missing), len(extra), some(extra))
}

// awaitExactly waits for exactly these bodies, then a moment longer for messages that should not come.
func (t *taken) awaitExactly(wanted []string, seconds int) {
	await(seconds, func() string { return t.difference(wanted) }, func() bool { return t.difference(wanted) == "" })
	time.Sleep(300 * time.Millisecond)
	check(t.difference(wanted) == "", "%s", t.difference(wanted))
	check(t.count() == len(wanted), "delivered %d times for %d messages", t.count(), len(wanted))
}

func some(list []string) []string {
	if len(list) > 5 {
		return list[:5]
	}
	return list
}

// check ends the scenario as failed when holds is false.
func check(holds bool, format string, args ...interface{}) {
	if !holds {
		panic(fmt.Sprintf(format, args...))
	}
}

func must(err error, action string) {
	if err != nil {
		panic(action + ": " + err.Error())
	}
}

func await(seconds int, what func() string, holds func() bool) {
	end := time.Now().Add(time.Duration(seconds) * time.Second)
	for !holds() {
		if time.Now().After(end) {
			panic(fmt.Sprintf("after %d s: %s", seconds, what()))
		}
		time.Sleep(20 * time.Millisecond)
	}
}

type counter struct {
	lock  sync.Mutex
	value int
}

func (c *counter) add(n int) int {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.value += n
	return c.value
}

func (c *counter) get() int { return c.add(0) }

func (c *counter) max(n int) {
	c.lock.Lock()
	defer c.lock.Unlock()
	if n > c.value {
		c.value = n
	}
}
