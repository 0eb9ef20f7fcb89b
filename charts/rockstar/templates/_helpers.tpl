{{- define "rockstar.name" -}}
{{- if contains "rockstar" .Release.Name }}{{ .Release.Name }}{{ else }}{{ .Release.Name }}-rockstar{{ end }}-operator
{{- end }}

{{- define "rockstar.selector" -}}
app.kubernetes.io/name: rockstar
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "rockstar.labels" -}}
{{ include "rockstar.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "rockstar.image" -}}
{{ .image.repository }}:{{ .image.tag | default .chart.AppVersion }}
{{- end }}

{{/* Webhook configurations are names of the whole cluster: two releases must not share them. */}}
{{- define "rockstar.webhook" -}}
{{ .Release.Namespace }}-{{ include "rockstar.name" . }}
{{- end }}

{{- define "rockstar.namespaceSelector" -}}
matchExpressions:
- {key: kubernetes.io/metadata.name, operator: NotIn, values: [kube-system, {{ .Release.Namespace }}]}
{{- if not .Values.watch.cluster }}
- {key: kubernetes.io/metadata.name, operator: In, values: {{ .Values.watch.namespaces | toJson }}}
{{- end }}
{{- end }}

{{/* What the operator does in a namespace that it looks after. Secrets are read one by one, by name. */}}
{{- define "rockstar.rules" -}}
- apiGroups: [plugins.rockstar-framework.dev]
  resources: [plugins]
  verbs: [get, list, watch, patch]
- apiGroups: [plugins.rockstar-framework.dev]
  resources: [pluginhosts]
  verbs: [get, list, watch]
- apiGroups: [plugins.rockstar-framework.dev]
  resources: [plugins/status, pluginhosts/status]
  verbs: [patch]
- apiGroups: [plugins.rockstar-framework.dev]
  resources: [plugins/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create]
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [rockstar-ca]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
# Which operator the namespace belongs to.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [rockstar-owner]
  verbs: [get, update]
{{- end }}
