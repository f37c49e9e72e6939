{{/* Names, labels and the figures that several manifests share. */}}

{{- define "crossrank.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "crossrank.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "crossrank.labels" -}}
{{ include "crossrank.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "crossrank.keysSecret" -}}
{{- if .Values.apiKeysSecret -}}
{{- .Values.apiKeysSecret -}}
{{- else if .Values.apiKeys -}}
{{- include "crossrank.name" . -}}
{{- end -}}
{{- end -}}

{{/* One line of the settings file. Numbers of values are floats here, and
settings are whole. */}}
{{- define "crossrank.setting" -}}
{{ .name }}: {{ if kindIs "float64" .value }}{{ int64 .value }}{{ else }}{{ toJson .value }}{{ end }}
{{- end -}}

{{/* The settings file: yours, and what the chart decides. */}}
{{- define "crossrank.settings" -}}
{{- $own := dict "host" "0.0.0.0" "port" 8080 "threads" .Values.lanes "grpc" (dict "enabled" true "port" 50051) -}}
{{- if include "crossrank.keysSecret" . -}}
{{- $_ := set $own "api_keys_file" "/etc/crossrank-keys/keys" -}}
{{- end -}}
{{- range $name, $value := mergeOverwrite (deepCopy .Values.settings) $own }}
{{- if kindIs "map" $value }}
{{ $name }}:
{{- range $inner, $v := $value }}
  {{ include "crossrank.setting" (dict "name" $inner "value" $v) }}
{{- end }}
{{- else }}
{{ include "crossrank.setting" (dict "name" $name "value" $value) }}
{{- end }}
{{- end }}
{{- end -}}

{{/* From SIGTERM's eve to SIGKILL. */}}
{{- define "crossrank.graceSeconds" -}}
{{- $drain := 30000 -}}
{{- if hasKey .Values.settings "drain_timeout_ms" -}}
{{- $drain = int .Values.settings.drain_timeout_ms -}}
{{- end -}}
{{- add (int .Values.stopDelaySeconds) (divf $drain 1000 | ceil | int) (int .Values.stopMarginSeconds) -}}
{{- end -}}
