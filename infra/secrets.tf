# The secrets that the topology names. Their values pass through and are kept nowhere but in Secret Manager.

resource "google_secret_manager_secret" "this" {
  for_each = local.secrets

  project   = var.project_id
  secret_id = local.secret_ids[each.key]

  replication {
    user_managed {
      replicas {
        location = var.region

        dynamic "customer_managed_encryption" {
          for_each = local.key[*]
          content {
            kms_key_name = customer_managed_encryption.value
          }
        }
      }
    }
  }

  depends_on = [google_project_service.this, google_kms_crypto_key_iam_member.services]
}

resource "google_secret_manager_secret_version" "this" {
  for_each = local.secrets

  secret                 = google_secret_manager_secret.this[each.key].id
  secret_data_wo         = lookup(var.secrets, each.key, "not set") # sent only where the number below is new
  secret_data_wo_version = lookup(var.secret_versions, each.key, 1)

  lifecycle {
    create_before_destroy = true # functions hold on to the old one until they are replaced
  }
}
