// Command health says what GitOps tools and kubectl make of objects: kstatus, Flux's health check expressions, Argo CD's
// health script and `kubectl wait --for=condition=Ready`. It prints a JSON object a line for each object of each file.
//
//	health ARGOCD-CM FLUX-KUSTOMIZATION STATE.yaml...
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// Verdicts are what each tool says of one object of one state.
type Verdicts struct {
	State   string `json:"state"`
	Object  string `json:"object"`
	Kstatus string `json:"kstatus"`
	Argo    string `json:"argo"`
	Flux    string `json:"flux"`
	Wait    string `json:"wait"`
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "health:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	if len(args) < 2 {
		return errors.New("usage: health ARGOCD-CM FLUX-KUSTOMIZATION STATE.yaml...")
	}
	scripts, err := readScripts(args[0])
	if err != nil {
		return err
	}
	evaluators, err := readEvaluators(args[1])
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	for _, path := range args[2:] {
		objects, err := readObjects(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, object := range objects {
			verdicts, err := judge(object, scripts, evaluators)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", path, object.GetName(), err)
			}
			verdicts.State = strings.TrimSuffix(filepath.Base(path), ".yaml")
			if err := encoder.Encode(verdicts); err != nil {
				return err
			}
		}
	}
	return nil
}

func judge(object *unstructured.Unstructured, scripts scripts, evaluators evaluators) (*Verdicts, error) {
	computed, err := status.Compute(object)
	if err != nil {
		return nil, fmt.Errorf("kstatus: %w", err)
	}
	argo, err := scripts.health(object)
	if err != nil {
		return nil, fmt.Errorf("Argo CD: %w", err)
	}
	flux, err := evaluators.status(object)
	if err != nil {
		return nil, fmt.Errorf("Flux: %w", err)
	}
	return &Verdicts{
		Object:  object.GetKind() + "/" + object.GetName(),
		Kstatus: computed.Status.String(),
		Argo:    argo,
		Flux:    flux,
		Wait:    waitForReady(object),
	}, nil
}

func readObjects(path string) ([]*unstructured.Unstructured, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	decoder := yaml.NewYAMLToJSONDecoder(bytes.NewReader(data))
	var objects []*unstructured.Unstructured
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
}
