package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// healthKey is the beginning of a key of argocd-cm; the group and the kind follow.
const healthKey = "resource.customizations.health."

// scriptTimeout is what Argo CD gives a script.
const scriptTimeout = time.Second

// scripts are health scripts in Lua, by GROUP_KIND.
type scripts map[string]string

func readScripts(path string) (scripts, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var configMap struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(data, &configMap); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	all := scripts{}
	for key, script := range configMap.Data {
		if kind, found := strings.CutPrefix(key, healthKey); found {
			all[kind] = script
		}
	}
	return all, nil
}

// health runs the script of the object's kind as Argo CD does: its interpreter, with the base and table libraries alone,
// the object in the global obj.
func (s scripts) health(object *unstructured.Unstructured) (string, error) {
	kind := object.GroupVersionKind()
	script, found := s[kind.Group+"_"+kind.Kind]
	if !found {
		return "", fmt.Errorf("no script for %s", kind.GroupKind())
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	ctx, cancel := context.WithTimeout(context.Background(), scriptTimeout)
	defer cancel()
	state.SetContext(ctx)
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return "", err
		}
	}
	state.SetGlobal("obj", luaValue(state, object.Object))
	if err := state.DoString(script); err != nil {
		return "", err
	}
	return healthCode(state.Get(-1))
}

func healthCode(returned lua.LValue) (string, error) {
	table, isTable := returned.(*lua.LTable)
	if !isTable {
		return "", fmt.Errorf("the script returned no table but %s", returned.Type())
	}
	if message := table.RawGetString("message"); message.Type() != lua.LTString {
		return "", fmt.Errorf("the script's message is no text but %s", message.Type())
	}
	switch code := table.RawGetString("status").String(); code {
	case "Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown":
		return code, nil
	default:
		return "", fmt.Errorf("the script returned an unknown health: %s", code)
	}
}

func luaValue(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case bool:
		return lua.LBool(value)
	case string:
		return lua.LString(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case []any:
		table := state.CreateTable(len(value), 0)
		for _, item := range value {
			table.Append(luaValue(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(value))
		for key, item := range value {
			table.RawSetString(key, luaValue(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}
