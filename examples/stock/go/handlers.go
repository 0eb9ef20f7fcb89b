package main

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/proto"
	wire "stock-go/wire/plugin"
	"stock-go/wire/types"
)

// Handle runs one call's handler, by the name under which it was registered.
func (p *plugin) Handle(ctx context.Context, call *wire.Call) (*wire.Reply, error) {
	handlers := map[string]func(context.Context, *wire.Call) (*wire.Reply, error){
		"hook": p.hook, "sign": p.sign, "heard": p.hear, "greet": p.greet, "hello": p.hello,
	}
	handler, ok := handlers[call.Handler]
	if !ok {
		failure := &types.Failure{Class: types.Failure_CLASS_NOT_FOUND, Text: fmt.Sprintf("no handler '%s'", call.Handler)}
		return &wire.Reply{Id: call.Id, Reply: &wire.Reply_Failure{Failure: failure}}, nil
	}
	reply, err := handler(ctx, call)
	if err != nil {
		reply = &wire.Reply{Reply: &wire.Reply_Failure{Failure: failed(err)}}
	}
	reply.Id = call.Id
	return reply, nil
}

func (p *plugin) hook(ctx context.Context, call *wire.Call) (*wire.Reply, error) {
	if call.GetRequestHook().GetPath() == "/stock/report" {
		return answered(p.report(ctx, call))
	}
	stamp, err := encoded(p.name)
	if err != nil {
		return nil, err
	}
	return changed(&types.Change{Values: []*types.ContextValue{{Key: "stamp", Value: stamp}}}), nil
}

func (p *plugin) sign(_ context.Context, call *wire.Call) (*wire.Reply, error) {
	if request := call.GetEnter(); request != nil {
		return &wire.Reply{Reply: &wire.Reply_Next{Next: &wire.Next{WantLeave: true, State: []byte(request.Path)}}}, nil
	}
	signed := append([]byte("go "), call.GetLeave().GetState()...)
	return changed(&types.Change{Set: []*types.Header{{Name: "x-signed", Value: signed}}}), nil
}

func (p *plugin) hear(_ context.Context, call *wire.Call) (*wire.Reply, error) {
	text, err := decoded(call.GetEvent().GetData())
	if err != nil {
		return nil, err
	}
	p.heard <- text
	return changed(&types.Change{}), nil
}

func (p *plugin) greet(_ context.Context, call *wire.Call) (*wire.Reply, error) {
	invocation := call.GetInvoke()
	if invocation.GetMethod() != "Greet" {
		return nil, fmt.Errorf("unknown method %s", invocation.GetMethod())
	}
	name, err := decoded(invocation.GetArguments())
	if err != nil {
		return nil, err
	}
	greeting, err := encoded(fmt.Sprintf("%s, %s", p.greeting.Load(), name))
	return &wire.Reply{Reply: &wire.Reply_Result{Result: greeting}}, err
}

func (p *plugin) hello(_ context.Context, call *wire.Call) (*wire.Reply, error) {
	hello := map[string]any{}
	for _, value := range call.Values {
		if value.Key == "stamp" {
			hello["stamp"], _ = decoded(value.Value)
		}
	}
	for _, parameter := range call.GetRoute().GetParameters() {
		if parameter.Name == "name" {
			hello["greeting"] = fmt.Sprintf("%s, %s", p.greeting.Load(), parameter.Value)
		}
	}
	return answered(hello)
}

func answered(with map[string]any) (*wire.Reply, error) {
	body, err := json.Marshal(with)
	if err != nil {
		return nil, err
	}
	answer := &types.Response{
		Status:  200,
		Headers: []*types.Header{{Name: "content-type", Value: []byte("application/json")}},
		Body:    &types.Body{Body: &types.Body_Whole{Whole: body}},
	}
	return &wire.Reply{Reply: &wire.Reply_Answer{Answer: answer}}, nil
}

func changed(change *types.Change) *wire.Reply {
	return &wire.Reply{Reply: &wire.Reply_Change{Change: change}}
}

func failed(err error) *types.Failure {
	return &types.Failure{Class: types.Failure_CLASS_RETURNED, Text: err.Error()}
}

// encoded is a text as fields of type bytes carry it.
func encoded(text string) ([]byte, error) {
	return proto.Marshal(&types.Value{Kind: &types.Value_Text{Text: text}})
}

func decoded(value []byte) (string, error) {
	var decoded types.Value
	err := proto.Unmarshal(value, &decoded)
	return decoded.GetText(), err
}
