package main

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// waitForReady says whether `kubectl wait --for=condition=Ready` returns: the condition is True, and not of an older
// generation (by its own observedGeneration, else by that of the status).
func waitForReady(object *unstructured.Unstructured) string {
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, entry := range conditions {
		condition, _ := entry.(map[string]any)
		kind, _, _ := unstructured.NestedString(condition, "type")
		if kind != "Ready" {
			continue
		}
		generation, found, _ := unstructured.NestedInt64(object.Object, "metadata", "generation")
		if observed, known := observedGeneration(object, condition); found && known && observed < generation {
			return "no"
		}
		if value, _, _ := unstructured.NestedString(condition, "status"); strings.EqualFold(value, "True") {
			return "ok"
		}
		return "no"
	}
	return "no"
}

func observedGeneration(object *unstructured.Unstructured, condition map[string]any) (int64, bool) {
	if observed, found, _ := unstructured.NestedInt64(condition, "observedGeneration"); found {
		return observed, true
	}
	observed, found, _ := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	return observed, found
}
