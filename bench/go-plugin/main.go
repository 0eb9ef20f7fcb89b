// One hop of github.com/hashicorp/go-plugin over gRPC: this program is the host, and by its handshake the plugin too.
// It measures calls of a pre_request hook and prints one JSON line for each number of callers.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"rockstar.example/bench/go-plugin/peer"
)

var handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "ROCKSTAR_BENCH_PEER",
	MagicCookieValue: "pre_request",
}

// hooks is the plugin's side.
type hooks struct {
	peer.UnimplementedHooksServer
}

func (hooks) PreRequest(_ context.Context, request *peer.Request) (*peer.Change, error) {
	if request.Path == "" {
		return nil, errors.New("no path")
	}
	return &peer.Change{Set: []*peer.Header{{Name: "x-bench", Value: []byte("1")}}}, nil
}

// wiring tells go-plugin how the hook is served and reached.
type wiring struct {
	plugin.NetRPCUnsupportedPlugin
}

func (wiring) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	peer.RegisterHooksServer(server, hooks{})
	return nil
}

func (wiring) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return peer.NewHooksClient(conn), nil
}

var plugins = map[string]plugin.Plugin{"hooks": wiring{}}

// result is in the form that all programs of this benchmark print.
type result struct {
	Callers   int     `json:"callers"`
	P50us     float64 `json:"p50_us"`
	P99us     float64 `json:"p99_us"`
	PerSecond float64 `json:"per_second"`
}

func request() *peer.Request {
	request := &peer.Request{
		Method: "GET", Path: "/api/orders/42", Query: "page=2", Authority: "shop.example", Scheme: "http", Peer: "10.0.0.7:51234",
	}
	for i := range 10 {
		value := fmt.Sprintf("value-%d-0123456789abcdef", i)
		request.Headers = append(request.Headers, &peer.Header{Name: fmt.Sprintf("x-header-%d", i), Value: []byte(value)})
	}
	return request
}

// measure calls from several callers for a time, after a warm-up that is not counted.
func measure(client peer.HooksClient, callers int, warm, duration time.Duration) (result, error) {
	begin := time.Now().Add(warm)
	end := begin.Add(duration)
	samples := make([][]time.Duration, callers)
	failures := make([]error, callers)
	var wait sync.WaitGroup
	for caller := range callers {
		wait.Go(func() {
			message := request()
			for {
				sent := time.Now()
				if sent.After(end) {
					return
				}
				if _, err := client.PreRequest(context.Background(), message); err != nil {
					failures[caller] = err
					return
				}
				if !sent.Before(begin) {
					samples[caller] = append(samples[caller], time.Since(sent))
				}
			}
		})
	}
	wait.Wait()
	var all []time.Duration
	for _, some := range samples {
		all = append(all, some...)
	}
	if err := errors.Join(failures...); err != nil {
		return result{}, err
	}
	sort.Slice(all, func(a, b int) bool { return all[a] < all[b] })
	at := func(part float64) float64 { return float64(all[int(part*float64(len(all)-1))].Nanoseconds()) / 1000 }
	return result{callers, at(0.5), at(0.99), float64(len(all)) / duration.Seconds()}, nil
}

func host(callers []int, warm, duration time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		Plugins:          plugins,
		Cmd:              exec.Command(self),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           hclog.NewNullLogger(),
	})
	defer client.Kill()
	rpc, err := client.Client()
	if err != nil {
		return err
	}
	raw, err := rpc.Dispense("hooks")
	if err != nil {
		return err
	}
	for _, count := range callers {
		measured, err := measure(raw.(peer.HooksClient), count, warm, duration)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(measured); err != nil {
			return err
		}
	}
	return nil
}

func numbers(text string) ([]int, error) {
	var all []int
	for part := range strings.SplitSeq(text, ",") {
		number, err := strconv.Atoi(part)
		if err != nil {
			return nil, err
		}
		all = append(all, number)
	}
	return all, nil
}

func main() {
	if os.Getenv(handshake.MagicCookieKey) != "" {
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: handshake, Plugins: plugins, GRPCServer: plugin.DefaultGRPCServer})
		return
	}
	callers := flag.String("callers", "1,64", "numbers of callers, separated by commas")
	warm := flag.Duration("warm-up", time.Second, "time that is not counted")
	duration := flag.Duration("duration", 5*time.Second, "time that is counted, for each number of callers")
	flag.Parse()
	counts, err := numbers(*callers)
	if err == nil {
		err = host(counts, *warm, *duration)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}
