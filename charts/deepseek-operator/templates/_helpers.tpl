{{- define "operator.name" -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "operator.selector" -}}
app.kubernetes.io/name: deepseek-operator
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "operator.labels" -}}
{{ include "operator.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: deepseek
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "operator.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* The same for every container that the chart runs. */}}
{{- define "operator.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "operator.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* What the operator may do where it watches: in a ClusterRole, or in a Role of each namespace. */}}
{{- define "operator.rules" -}}
- apiGroups: [deepseek.dev]
  resources: [deepseektrainingjobs, deepseekdatasets, deepseekmodelrevisions, deepseekmodelservices]
  verbs: [get, list, watch]
- apiGroups: [deepseek.dev]
  resources:
    - deepseektrainingjobs/status
    - deepseekdatasets/status
    - deepseekmodelrevisions/status
    - deepseekmodelservices/status
  verbs: [update]
- apiGroups: [deepseek.dev]
  resources: [deepseekmodelrevisions]
  verbs: [create]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, create, patch]
# Deleting the run config of a served revision takes with it all that it owns, Secrets included.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, delete]
# Which pods a service leads to, before those of the revision before are removed.
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list]
# A run's own token is created and never read: it is derived again from the operator's key.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
