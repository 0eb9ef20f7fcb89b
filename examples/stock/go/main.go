// A whole Rockstar plugin with nothing but google.golang.org/grpc: the host calls Plugin, the plugin calls
// PluginContext. GET /stock/report is answered with what each method of the plugin context said, GET /stock/hello/NAME by
// a route.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	wire "stock-go/wire/plugin"
	"stock-go/wire/types"
)

const protocol = 1

var methods = []string{
	"Name", "Version", "Description", "Author", "Dependencies",
	"Initialize", "Start", "Stop", "Cleanup", "ConfigSchema", "OnConfigChange",
}

type manifest struct{ Version, Description, Author string }

type plugin struct {
	wire.UnimplementedPluginServer
	manifest
	name     string
	host     wire.PluginContextClient
	greeting atomic.Value
	heard    chan string
}

func (p *plugin) Describe(_ context.Context, request *wire.DescribeRequest) (*wire.Description, error) {
	if !slices.Contains(request.Protocols, protocol) {
		return nil, status.Errorf(codes.FailedPrecondition, "the plugin speaks protocol %d", protocol)
	}
	return &wire.Description{
		Protocol:    protocol,
		Name:        p.name,
		Version:     p.Version,
		Description: p.Description,
		Author:      p.Author,
		Methods:     methods,
	}, nil
}

func (p *plugin) Initialize(ctx context.Context, config *wire.Config) (*wire.Result, error) {
	p.configure(config)
	priority := int32(150)
	registrations := []*wire.Registration{
		{Kind: wire.Registration_KIND_HOOK, Name: "pre_request", Handler: "hook", Priority: &priority},
		{Kind: wire.Registration_KIND_MIDDLEWARE, Name: "sign", Handler: "sign", Routes: []string{"/stock/*"}},
		{Kind: wire.Registration_KIND_ROUTE, Method: "GET", Routes: []string{"/stock/hello/:name"}, Handler: "hello"},
		{Kind: wire.Registration_KIND_SUBSCRIPTION, Name: "stock.ping", Handler: "heard"},
		{Kind: wire.Registration_KIND_SERVICE, Name: "Greeter", Handler: "greet"},
	}
	for _, registration := range registrations {
		switch err := p.register(ctx, registration); {
		case err == nil:
		case status.Code(err) == codes.Unimplemented: // an older host
			p.log(ctx, "going on without: "+status.Convert(err).Message())
		default:
			return &wire.Result{Failure: failed(err)}, nil
		}
	}
	p.log(ctx, "Plugin initialized")
	return &wire.Result{}, nil
}

func (p *plugin) configure(config *wire.Config) {
	p.greeting.Store(config.GetValues().GetValues()["greeting"].GetText())
}

func (p *plugin) Start(context.Context, *types.Empty) (*wire.Result, error) {
	return &wire.Result{}, nil
}
func (p *plugin) Stop(context.Context, *types.Empty) (*wire.Result, error) {
	return &wire.Result{}, nil
}
func (p *plugin) Cleanup(context.Context, *types.Empty) (*wire.Result, error) {
	return &wire.Result{}, nil
}
func (p *plugin) Ping(context.Context, *types.Empty) (*types.Empty, error) {
	return &types.Empty{}, nil
}

func (p *plugin) OnConfigChange(_ context.Context, config *wire.Config) (*wire.Result, error) {
	p.configure(config)
	return &wire.Result{}, nil
}

func main() {
	text, err := os.ReadFile(filepath.Join(os.Getenv("ROCKSTAR_PLUGIN_DIR"), "plugin.json"))
	if err != nil {
		log.Fatal(err)
	}
	p := &plugin{name: os.Getenv("ROCKSTAR_PLUGIN_NAME"), heard: make(chan string, 16)}
	if err := json.Unmarshal(text, &p.manifest); err != nil {
		log.Fatal(err)
	}
	host, err := grpc.NewClient("unix:"+os.Getenv("ROCKSTAR_HOST_SOCKET"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	p.host = wire.NewPluginContextClient(host)
	listener, err := net.Listen("unix", os.Getenv("ROCKSTAR_PLUGIN_SOCKET"))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	wire.RegisterPluginServer(server, p)
	log.Fatal(server.Serve(listener))
}
