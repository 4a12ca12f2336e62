{{- define "alert-classifier.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "alert-classifier.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "alert-classifier.labels" -}}
{{ include "alert-classifier.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "alert-classifier.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "alert-classifier.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* What can't work is refused here, in one sentence, and not by a pod that crashes. */}}
{{- define "alert-classifier.check" -}}
{{- if not .Values.settings.kafka.bootstrap_servers -}}
{{- fail "settings.kafka.bootstrap_servers is empty: say where Kafka is, for example --set settings.kafka.bootstrap_servers=kafka:9092" -}}
{{- end -}}
{{- if and (not .Values.store.existingSecret) (or .Values.autoscaling.enabled (gt (int .Values.replicaCount) 1)) -}}
{{- fail "several replicas need one shared store: set store.existingSecret to a secret that holds the PostgreSQL URL" -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.api.existingSecret (not .Values.api.metricsKey) -}}
{{- fail "the API asks for keys, so Prometheus needs one too: set api.metricsKey to the key of the secret that holds it" -}}
{{- end -}}
{{- if and .Values.kafka.tls.clientCertificate (not .Values.kafka.tls.existingSecret) -}}
{{- fail "kafka.tls.clientCertificate needs kafka.tls.existingSecret with tls.crt and tls.key" -}}
{{- end -}}
{{- end -}}

{{- define "alert-classifier.protocol" -}}
{{- if .Values.kafka.sasl.existingSecret -}}
{{- ternary "SASL_SSL" "SASL_PLAINTEXT" .Values.kafka.tls.enabled -}}
{{- else -}}
{{- ternary "SSL" "PLAINTEXT" .Values.kafka.tls.enabled -}}
{{- end -}}
{{- end -}}

{{/* The settings, with what the chart knows of Kafka's security written into kafka.librdkafka. */}}
{{- define "alert-classifier.settings" -}}
{{- $security := dict "security.protocol" (include "alert-classifier.protocol" .) -}}
{{- if .Values.kafka.sasl.existingSecret -}}
{{- $_ := set $security "sasl.mechanism" .Values.kafka.sasl.mechanism -}}
{{- end -}}
{{- if and .Values.kafka.tls.enabled .Values.kafka.tls.existingSecret -}}
{{- $_ := set $security "ssl.ca.location" "/etc/kafka-tls/ca.crt" -}}
{{- if .Values.kafka.tls.clientCertificate -}}
{{- $_ := set $security "ssl.certificate.location" "/etc/kafka-tls/tls.crt" -}}
{{- $_ := set $security "ssl.key.location" "/etc/kafka-tls/tls.key" -}}
{{- end -}}
{{- end -}}
{{- $ours := dict "kafka" (dict "librdkafka" $security) -}}
{{- if eq (include "alert-classifier.protocol" .) "PLAINTEXT" -}}
{{- $ours = dict -}}
{{- end -}}
{{- mergeOverwrite $ours (deepCopy .Values.settings) | toToml -}}
{{- end -}}
