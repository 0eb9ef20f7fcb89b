package main

import (
	"context"
	"fmt"
	"os"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// evaluators are Flux's own, by apiVersion/kind.
type evaluators map[string]*cel.StatusEvaluator

func readEvaluators(path string) (evaluators, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var kustomization struct {
		Spec struct {
			HealthCheckExprs []kustomize.CustomHealthCheck `json:"healthCheckExprs"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(data, &kustomization); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	all := evaluators{}
	for _, check := range kustomization.Spec.HealthCheckExprs {
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", path, check.Kind, err)
		}
		all[check.APIVersion+"/"+check.Kind] = evaluator
	}
	return all, nil
}

func (e evaluators) status(object *unstructured.Unstructured) (string, error) {
	evaluator := e[object.GetAPIVersion()+"/"+object.GetKind()]
	if evaluator == nil {
		return "", fmt.Errorf("no expressions for %s", object.GetKind())
	}
	result, err := evaluator.Evaluate(context.Background(), object)
	if err != nil {
		return "", err
	}
	return result.Status.String(), nil
}
