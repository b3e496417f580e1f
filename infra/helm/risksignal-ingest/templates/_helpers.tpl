{{- define "risksignal.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "risksignal.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "risksignal.labels" -}}
{{ include "risksignal.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The port of ops.listen. */}}
{{- define "risksignal.port" -}}
{{ .Values.settings.ops.listen | splitList ":" | last }}
{{- end }}

{{/* How ops.listen is asked. */}}
{{- define "risksignal.scheme" -}}
{{ ternary "HTTPS" "HTTP" (hasKey .Values.files "ops.cert_file") }}
{{- end }}

{{/* Where the files are. */}}
{{- define "risksignal.files" -}}/run/secrets/risksignal{{- end }}

{{/* risksignal.toml. A ConfigMap is for everybody to read, so no secret may stand in it. */}}
{{- define "risksignal.toml" -}}
{{- $secrets := list "password" "token" "nkey" "creds" "headers" }}
{{- if hasKey .Values.settings "shutdown" }}
{{- fail "settings.shutdown: set shutdownGraceSeconds, which the pod's own grace period follows" }}
{{- end }}
{{- $grace := dict "grace" (printf "%ds" (int .Values.shutdownGraceSeconds)) }}
{{- range $section, $keys := merge (dict "shutdown" $grace) .Values.settings }}
[{{ $section }}]
{{- range $key, $value := $keys }}
{{- if has $key $secrets }}
{{- fail (printf "settings.%s.%s is a secret: name the Secret that holds it under files as %s.%s_file" $section $key $section $key) }}
{{- else if hasSuffix "_file" $key }}
{{- fail (printf "settings.%s.%s is a file: name the Secret that holds it under files as %s.%s" $section $key $section $key) }}
{{- else if and (eq $key "url") (contains "@" (toString $value)) }}
{{- fail (printf "settings.%s.url holds a login: set %s.user, and files for the secret" $section $section) }}
{{- end }}
{{ $key }} = {{ include "risksignal.scalar" $value }}
{{- end }}
{{ end }}
{{- end }}

{{/* As TOML has it. YAML's whole numbers come as floating point. */}}
{{- define "risksignal.scalar" -}}
{{- if kindIs "string" . }}{{ toJson . }}
{{- else if kindIs "bool" . }}{{ . }}
{{- else }}{{ int64 . }}
{{- end }}
{{- end }}
