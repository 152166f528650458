# The buckets of the topology, and what tells a topic of their new objects.

resource "google_storage_bucket" "this" {
  #checkov:skip=CKV_GCP_62:who reads and writes objects is in Cloud Audit Logs; a log bucket would need the same care as what it logs
  #checkov:skip=CKV_GCP_78:versioned where an overwrite must not disturb a reader; results are made again from the ledger, and soft delete keeps all of them for a week
  for_each = local.buckets

  name                        = each.value.name
  project                     = var.project_id
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.deletion_protection

  versioning {
    enabled = each.value.versioned
  }

  soft_delete_policy {
    retention_duration_seconds = each.value.versioned ? 0 : 7 * 24 * 3600 # versions are kept as long
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.delete_after_days == null ? [] : [each.value.delete_after_days]
    content {
      action { type = "Delete" }
      condition {
        age        = lifecycle_rule.value
        with_state = "LIVE"
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.delete_after_days_under
    content {
      action { type = "Delete" }
      condition {
        age            = lifecycle_rule.value
        matches_prefix = [lifecycle_rule.key]
        with_state     = "LIVE"
      }
    }
  }

  dynamic "lifecycle_rule" {
    for_each = each.value.versioned ? [7] : []
    content {
      action { type = "Delete" }
      condition {
        days_since_noncurrent_time = lifecycle_rule.value
        with_state                 = "ARCHIVED"
      }
    }
  }

  lifecycle_rule {
    action { type = "AbortIncompleteMultipartUpload" }
    condition { age = 8 } # an address to upload to lasts a week
  }

  dynamic "encryption" {
    for_each = local.key_of_storage
    content {
      default_kms_key_name = encryption.value
    }
  }

  depends_on = [google_project_service.this, google_kms_crypto_key_iam_member.services]
}

resource "google_storage_notification" "this" {
  for_each = { for key, bucket in local.buckets : key => bucket if bucket.notify_topic != null }

  bucket         = google_storage_bucket.this[each.key].name
  topic          = module.queue[each.value.notify_topic].topic
  payload_format = "JSON_API_V1"
  event_types    = ["OBJECT_FINALIZE"]
}

# Where people drop files: `rowlift --api` puts them there as the person who runs it.
resource "google_storage_bucket_iam_member" "people" {
  for_each = merge([
    for key, bucket in local.buckets : {
      for member in toset(concat(var.users, var.deployers)) : "${key} ${member}" => { bucket = key, role = local.bucket_roles[bucket.people], member = member }
    } if bucket.people != null
  ]...)

  bucket = google_storage_bucket.this[each.value.bucket].name
  role   = each.value.role
  member = each.value.member
}
