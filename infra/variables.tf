variable "alerts" {
  description = "Who is told of trouble, and from where on. Without addresses alerts open incidents that nobody is sent."
  type = object({
    emails             = optional(list(string), [])
    connections_share  = optional(number, 0.8) # of the database's max_connections
    server_errors      = optional(number, 0.1) # answers with 5xx a second, of one function
    refusals           = optional(number, 0.5) # answers with 429 a second, of one function: all instances are busy
    spend_usd_per_hour = optional(number, 10)  # what upstreams were paid, as the ledger books it
    unacknowledged     = optional(number, 900) # age of a subscription's oldest message in seconds
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for email in var.alerts.emails : can(regex("^[^@ ]+@[^@ ]+$", email))])
    error_message = "alerts.emails holds something that is no e-mail address."
  }
  validation {
    condition     = var.alerts.connections_share > 0 && var.alerts.connections_share < 1
    error_message = "alerts.connections_share is a share of the database's connections: between 0 and 1."
  }
}

variable "archive" {
  description = "The functions' source as a ZIP, which `make archive` builds; the path is relative to this folder."
  type        = string
  default     = "../build/source.zip"
  nullable    = false

  validation {
    condition     = fileexists("${path.root}/${var.archive}")
    error_message = "There is no source archive. Build it with `make archive` in the project's folder."
  }
}

variable "budget" {
  description = "What Google may charge a month before somebody is told; needs billing rights. OpenAI's bill is another."
  type = object({
    billing_account = string
    monthly_usd     = number
    thresholds      = optional(list(number), [0.5, 0.9, 1])
  })
  default = null

  validation {
    condition     = var.budget == null || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.budget.billing_account))
    error_message = "budget.billing_account reads like 012345-6789AB-CDEF01; `gcloud billing accounts list` shows yours."
  }
  validation {
    condition     = var.budget == null || try(var.budget.monthly_usd > 0 && alltrue([for t in var.budget.thresholds : t > 0]), false)
    error_message = "budget.monthly_usd and budget.thresholds are above 0; a threshold of 0.5 is half of the budget."
  }
}

variable "customer_managed_keys" {
  description = "Whether data is encrypted with a key of yours, in Cloud KMS, instead of Google's. Chosen once: changing it makes database and buckets anew."
  type        = bool
  default     = false
  nullable    = false
}

variable "dashboard_domain" {
  description = "The host name under which people reach the dashboard through Identity-Aware Proxy; null for none: IAM alone lets people in."
  type        = string
  default     = null

  validation {
    condition     = var.dashboard_domain == null || can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.dashboard_domain))
    error_message = "dashboard_domain is a host name such as rowlift.example.com, without https:// and path."
  }
}

variable "database" {
  description = "The Cloud SQL instance. Memory bounds max_connections: about 50 for db-g1-small, 100 for 3.75 GB, 400 for 7.5 GB."
  type = object({
    tier              = optional(string, "db-custom-2-7680")
    max_connections   = optional(number, 400)
    version           = optional(string, "POSTGRES_18") # what the tests run on
    disk_gb           = optional(number, 20)
    disk_limit_gb     = optional(number, 500) # it grows by itself until then, and never shrinks
    high_availability = optional(bool, false)
    backups           = optional(number, 14) # days of them, one a day
    log_days          = optional(number, 7)  # how far back it can be recovered to a point in time
  })
  default  = {}
  nullable = false

  validation {
    condition     = can(regex("^POSTGRES_(1[5-9]|[2-9][0-9])$", var.database.version))
    error_message = "database.version has to be POSTGRES_15 or newer: the migrations need it."
  }
  validation {
    condition     = var.database.log_days >= 1 && var.database.log_days <= 7 && var.database.backups >= var.database.log_days
    error_message = "database.log_days is 1 to 7 in edition ENTERPRISE, and backups reach at least as far back."
  }
  validation {
    condition     = var.database.disk_gb >= 10 && var.database.disk_limit_gb >= var.database.disk_gb
    error_message = "database.disk_gb is 10 or more, and disk_limit_gb no less than it."
  }
}

variable "deletion_protection" {
  description = "Whether `terraform destroy` is refused for the database and for buckets that hold something."
  type        = bool
  default     = true
  nullable    = false
}

variable "deployers" {
  description = "Who runs `make deploy`: they may act as the account that owns the tables, and call the API."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.deployers : can(regex("^(user|group|serviceAccount):[^@ ]+@[^@ ]+$", member))])
    error_message = "deployers are written user:ADDRESS, group:ADDRESS or serviceAccount:ADDRESS; nobody else may be named."
  }
}

variable "most_instances" {
  description = "No function gets more instances than this, whatever the topology allows; null leaves it to the topology. 1 fits a small database."
  type        = number
  default     = null

  validation {
    condition     = var.most_instances == null || try(var.most_instances >= 1 && floor(var.most_instances) == var.most_instances, false)
    error_message = "most_instances is a whole number from 1 on."
  }
}

variable "name" {
  description = "The prefix of every name; null takes the topology's. Two deployments of a project differ in it."
  type        = string
  default     = null

  validation {
    condition     = var.name == null || can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name has 3 to 20 small letters, digits and hyphens, begins with a letter and does not end with a hyphen."
  }
}

variable "private_ip" {
  description = "Whether the database has an address in a network of this deployment only, which functions reach by Direct VPC egress."
  type        = bool
  default     = false
  nullable    = false
}

variable "project_id" {
  description = "The project everything is made in; it exists, and billing is on."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project_id))
    error_message = "project_id is the project's id (6 to 30 small letters, digits, hyphens), not its name or number."
  }
}

variable "region" {
  description = "Where everything runs and is kept."
  type        = string
  default     = "europe-west1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "region is a region such as europe-west1, not a zone."
  }
}

variable "secret_versions" {
  description = "Raise a secret's number, from 1, to have its value of `secrets` written as a new version, which functions then use."
  type        = map(number)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for number in values(var.secret_versions) : number >= 1 && floor(number) == number])
    error_message = "secret_versions are whole numbers from 1 on."
  }
}

variable "secrets" {
  description = "The secrets' values by the name of their variable (`make deploy` takes them from the environment). Read only when a version is written; neither plan nor state holds them."
  type        = map(string)
  default     = {}
  nullable    = false
  ephemeral   = true
  sensitive   = true
}

variable "settings" {
  description = "Values of the variables in .env.example that are chosen, such as OPENAI_MODEL; each reaches the functions that the topology lists it for."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "topology" {
  description = "The text of another topology than topology.yaml. For tests."
  type        = string
  default     = null
}

variable "users" {
  description = "Who may use the API, the dashboard and `rowlift --api`."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for member in var.users : can(regex("^((user|group|serviceAccount):[^@ ]+@[^@ ]+|domain:[^@ ]+)$", member))])
    error_message = "users are written user:ADDRESS, group:ADDRESS, serviceAccount:ADDRESS or domain:NAME. Everybody (allUsers) cannot be let in."
  }
}
