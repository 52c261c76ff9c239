{{- /* The namespace is part of every identity that the policies know. */}}
{{- define "nephos.checkNamespace" -}}
{{- if ne .Release.Namespace "nephos-system" }}
{{- fail (printf "install into the namespace nephos-system, not %s: roles and policies name it" .Release.Namespace) }}
{{- end }}
{{- end }}

{{- define "nephos.labels" -}}
app.kubernetes.io/part-of: nephos
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "nephos.cloudID" -}}
{{- $system := lookup "v1" "Namespace" "" "kube-system" -}}
{{- if .Values.cloudID }}{{ .Values.cloudID }}
{{- else if $system }}{{ $system.metadata.uid }}
{{- else }}{{ fail "there is no cluster to take the cloud's name from: set cloudID to a UUID" }}
{{- end }}
{{- end }}

{{- /* The environment that all processes share; .container is what values.yaml says of one of them. */}}
{{- define "nephos.environment" -}}
- {name: NEPHOS_CLOUD_ID, value: {{ include "nephos.cloudID" .root | quote }}}
- {name: NEPHOS_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
{{- with .root.Values.apiServer.host }}
- {name: KUBERNETES_SERVICE_HOST, value: {{ . | quote }}}
- {name: KUBERNETES_SERVICE_PORT, value: {{ $.root.Values.apiServer.port | quote }}}
{{- end }}
{{- with .container.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* What a container may do that needs nothing of the machine. */}}
{{- define "nephos.confined" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
runAsNonRoot: true
runAsUser: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}
