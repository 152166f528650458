# Values the API would make up, where something else is checked against their form.
mock_resource "google_service_account" {
  defaults = {
    id     = "projects/test-project/serviceAccounts/account@test-project.iam.gserviceaccount.com"
    name   = "projects/test-project/serviceAccounts/account@test-project.iam.gserviceaccount.com"
    email  = "account@test-project.iam.gserviceaccount.com"
    member = "serviceAccount:account@test-project.iam.gserviceaccount.com"
  }
}

mock_resource "google_project_service_identity" {
  defaults = { member = "serviceAccount:agent@gcp-sa.iam.gserviceaccount.com" }
}

mock_resource "google_pubsub_topic" {
  defaults = { id = "projects/test-project/topics/made-up" }
}

mock_resource "google_sql_database_instance" {
  defaults = { connection_name = "test-project:europe-west1:ledger" }
}

mock_resource "google_secret_manager_secret_version" {
  defaults = { version = "7" }
}

mock_resource "google_compute_network" {
  defaults = { id = "projects/test-project/global/networks/rowlift" }
}

mock_resource "google_compute_subnetwork" {
  defaults = { id = "projects/test-project/regions/europe-west1/subnetworks/rowlift" }
}

mock_resource "google_kms_key_ring" {
  defaults = { id = "projects/test-project/locations/europe-west1/keyRings/rowlift" }
}

mock_resource "google_kms_crypto_key" {
  defaults = { id = "projects/test-project/locations/europe-west1/keyRings/rowlift/cryptoKeys/rowlift" }
}

mock_data "google_storage_project_service_account" {
  defaults = { member = "serviceAccount:storage@gs-project-accounts.iam.gserviceaccount.com" }
}

mock_data "google_project" {
  defaults = { number = "123456789012" }
}
