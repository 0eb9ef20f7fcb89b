package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	wire "stock-go/wire/plugin"
	"stock-go/wire/types"
)

// No call to the host goes without a deadline.
const deadline = 5 * time.Second

// refused is the host's own text.
type refused string

func (r refused) Error() string { return string(r) }

// answer is what most of the host's answers have in common.
type answer interface{ GetFailure() *types.Failure }

func checked[A answer](a A, err error) (A, error) {
	if err == nil && a.GetFailure() != nil {
		err = refused(a.GetFailure().Text)
	}
	return a, err
}

func (p *plugin) register(ctx context.Context, registration *wire.Registration) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	_, err := checked(p.host.Register(ctx, registration))
	return err
}

func (p *plugin) log(ctx context.Context, text string) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	stream, err := p.host.Telemetry(ctx)
	if err != nil {
		return // the host is gone, and with it whoever would read this
	}
	_ = stream.Send(&wire.Record{Kind: wire.Record_KIND_LOG, Level: "info", Name: text})
	_ = stream.Send(&wire.Record{Kind: wire.Record_KIND_COUNTER, Name: "stock.logged", Number: 1})
	_, _ = stream.CloseAndRecv()
}

func (p *plugin) report(ctx context.Context, call *wire.Call) map[string]any {
	methods := map[string]func(context.Context) (any, error){
		"Unregister":       p.unregister,
		"GetPluginConfig":  p.pluginConfig,
		"GetConfig":        p.config,
		"Cache":            func(ctx context.Context) (any, error) { return p.roundTrip(ctx, p.cache) },
		"Storage":          func(ctx context.Context) (any, error) { return p.roundTrip(ctx, p.storage) },
		"Database":         p.database,
		"Publish":          p.publish,
		"Import":           func(ctx context.Context) (any, error) { return nil, p.imported(ctx, "Nobody") },
		"Invoke":           func(ctx context.Context) (any, error) { return p.invoke(ctx, call) },
		"Services":         p.services,
		"GetPluginMetrics": p.metrics,
	}
	report := map[string]any{}
	for name, method := range methods {
		report[name] = attempt(ctx, method)
	}
	return report
}

// attempt gives what the method gave, or why it could not.
func attempt(ctx context.Context, method func(context.Context) (any, error)) any {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	said, err := method(ctx)
	var no refused
	switch {
	case err == nil:
		return said
	case errors.As(err, &no):
		return "refused: " + no.Error()
	case status.Code(err) == codes.Unimplemented:
		return "UNIMPLEMENTED: " + status.Convert(err).Message()
	default:
		return err.Error()
	}
}

func (p *plugin) unregister(ctx context.Context) (any, error) {
	gone := &wire.Registration{Kind: wire.Registration_KIND_MIDDLEWARE, Name: "gone", Handler: "sign", RequestOnly: true}
	if err := p.register(ctx, gone); err != nil {
		return nil, err
	}
	_, err := checked(p.host.Unregister(ctx, gone))
	return "ok", err
}

func (p *plugin) pluginConfig(ctx context.Context) (any, error) {
	config, err := p.host.GetPluginConfig(ctx, &types.Empty{})
	return config.GetValues().GetValues()["greeting"].GetText(), err
}

type keyValue func(context.Context, *wire.KeyValueRequest) (*wire.KeyValueReply, error)

func (p *plugin) cache(ctx context.Context, request *wire.KeyValueRequest) (*wire.KeyValueReply, error) {
	request.TtlMs = 60_000
	return checked(p.host.Cache(ctx, request))
}

func (p *plugin) storage(ctx context.Context, request *wire.KeyValueRequest) (*wire.KeyValueReply, error) {
	return checked(p.host.Storage(ctx, request))
}

func (p *plugin) config(ctx context.Context) (any, error) {
	request := &wire.KeyValueRequest{Operation: wire.KeyValueRequest_OPERATION_GET, Key: "database.host"}
	found, err := checked(p.host.GetConfig(ctx, request))
	if err != nil {
		return nil, err
	}
	return decoded(found.Value)
}

func (p *plugin) roundTrip(ctx context.Context, ask keyValue) (any, error) {
	ann, err := encoded("ann")
	if err != nil {
		return nil, err
	}
	set := &wire.KeyValueRequest{Operation: wire.KeyValueRequest_OPERATION_SET, Key: "name", Value: ann}
	if _, err := ask(ctx, set); err != nil {
		return nil, err
	}
	found, err := ask(ctx, &wire.KeyValueRequest{Operation: wire.KeyValueRequest_OPERATION_GET, Key: "name"})
	if err != nil {
		return nil, err
	}
	if _, err := ask(ctx, &wire.KeyValueRequest{Operation: wire.KeyValueRequest_OPERATION_DELETE, Key: "name"}); err != nil {
		return nil, err
	}
	return decoded(found.Value)
}

func (p *plugin) database(ctx context.Context) (any, error) {
	session, err := p.host.Database(ctx)
	if err != nil {
		return nil, err
	}
	for sequence, request := range requests() {
		request.Sequence = uint32(sequence + 1)
		if err := session.Send(request); err != nil {
			return nil, err
		}
	}
	if err := session.CloseSend(); err != nil {
		return nil, err
	}
	rows := [][]string{}
	for {
		reply, err := session.Recv()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if reply, err = checked(reply, err); err != nil {
			return nil, err
		}
		if row := reply.GetRow(); row != nil {
			rows = append(rows, texts(row))
		}
	}
}

func requests() []*wire.DatabaseRequest {
	execute := func(sql string, arguments ...string) *wire.DatabaseRequest {
		return &wire.DatabaseRequest{Request: &wire.DatabaseRequest_Execute{Execute: statement(sql, arguments)}}
	}
	query := statement("SELECT name FROM stock_go WHERE name = ?", []string{"ann"})
	return []*wire.DatabaseRequest{
		execute("CREATE TABLE IF NOT EXISTS stock_go (name TEXT)"),
		{Request: &wire.DatabaseRequest_Begin{Begin: &types.Empty{}}},
		execute("DELETE FROM stock_go"),
		execute("INSERT INTO stock_go (name) VALUES (?)", "ann"),
		{Request: &wire.DatabaseRequest_Commit{Commit: &types.Empty{}}},
		{Request: &wire.DatabaseRequest_Query{Query: query}},
	}
}

func statement(sql string, arguments []string) *wire.Statement {
	statement := &wire.Statement{Sql: sql, TimeoutMs: 5_000}
	for _, argument := range arguments {
		statement.Arguments = append(statement.Arguments, &types.Value{Kind: &types.Value_Text{Text: argument}})
	}
	return statement
}

func texts(row *types.List) []string {
	texts := []string{}
	for _, value := range row.Values {
		texts = append(texts, value.GetText())
	}
	return texts
}

func (p *plugin) publish(ctx context.Context) (any, error) {
	data, err := encoded("ping")
	if err != nil {
		return nil, err
	}
	if _, err := checked(p.host.Publish(ctx, &wire.Event{Name: "stock.ping", Data: data})); err != nil {
		return nil, err
	}
	select {
	case text := <-p.heard:
		return text, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("the event did not come: %w", ctx.Err())
	}
}

func (p *plugin) imported(ctx context.Context, service string) error {
	_, err := checked(p.host.Import(ctx, &wire.Invocation{Plugin: p.name, Service: service}))
	return err
}

// invoke calls the plugin's own service, through the host as any other plugin's.
func (p *plugin) invoke(ctx context.Context, call *wire.Call) (any, error) {
	if err := p.imported(ctx, "Greeter"); err != nil {
		return nil, err
	}
	ann, err := encoded("ann")
	if err != nil {
		return nil, err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "rockstar-call", strconv.FormatUint(call.Id, 10))
	invocation := &wire.Invocation{Plugin: p.name, Service: "Greeter", Method: "Greet", Arguments: ann}
	reply, err := checked(p.host.Invoke(ctx, invocation))
	if err != nil {
		return nil, err
	}
	return decoded(reply.GetResult())
}

func (p *plugin) services(ctx context.Context) (any, error) {
	stream, err := p.host.Services(ctx, &types.Empty{})
	names := []string{}
	for err == nil {
		var service *wire.Registration
		if service, err = stream.Recv(); err == nil {
			names = append(names, service.Name)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

func (p *plugin) metrics(ctx context.Context) (any, error) {
	request := &wire.KeyValueRequest{Operation: wire.KeyValueRequest_OPERATION_GET, Key: p.name}
	reply, err := checked(p.host.GetPluginMetrics(ctx, request))
	if err != nil {
		return nil, err
	}
	var metrics types.Value
	err = proto.Unmarshal(reply.Value, &metrics)
	_, found := metrics.GetMap().GetValues()["plugin.load.success"]
	return found, err
}
