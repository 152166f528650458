variable "buckets" {
  description = "What the function may do with which bucket, by the bucket's key in the topology."
  type        = map(object({ bucket = string, role = string }))
  default     = {}
}

variable "build" {
  description = "Who builds the image (full id of the account), and the repository it is kept in."
  type        = object({ account = string, repository = string })
}

variable "database" {
  description = "The Cloud SQL instance by its name and its connection name, and the database in it."
  type        = object({ instance = string, connection_name = string, name = string })
}

variable "description" {
  description = "What the function is for, in a few words."
  type        = string
}

variable "environment" {
  description = "Its variables; those of the database and of the platform are added. THREADS and DB_POOL_SIZE are among them."
  type        = map(string)

  validation {
    condition     = alltrue([for name in ["THREADS", "DB_POOL_SIZE"] : can(tonumber(var.environment[name]))])
    error_message = "A function needs THREADS and DB_POOL_SIZE; list both in common_env of the topology."
  }
  validation {
    condition     = alltrue([for name in keys(var.environment) : !can(regex("^(PORT|ENTRY_POINT|K_.*|FUNCTION_.*|X_GOOGLE_.*)$", name))])
    error_message = "PORT, ENTRY_POINT, K_*, FUNCTION_* and X_GOOGLE_* are the platform's own variables."
  }
}

variable "key" {
  description = "The Cloud KMS key that source and image are encrypted with; null for Google's own."
  type        = string
  default     = null
}

variable "name" {
  description = "The function's full name, which is its account's id, too."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.name))
    error_message = "The function and its account would be called ${var.name}; Google allows 6 to 30 small letters, digits and hyphens. Choose a shorter `name`, or a shorter name for the function."
  }
}

variable "network" {
  description = "The network its traffic to private addresses goes through; null for none."
  type        = object({ network = string, subnetwork = string })
  default     = null
}

variable "people" {
  description = "Who may call it besides Pub/Sub and the scheduler, by a name that is known before they exist; null where nobody is to."
  type        = map(string)
  default     = null

  validation {
    condition     = alltrue([for member in values(coalesce(var.people, {})) : !contains(["allUsers", "allAuthenticatedUsers"], member)])
    error_message = "Everybody cannot be let in: name users, groups or domains."
  }
}

variable "project_id" {
  description = "The project."
  type        = string
}

variable "region" {
  description = "Where it runs."
  type        = string
}

variable "secrets" {
  description = "Its secrets by the variable they are given in: the secret's id and the number of its version."
  type        = map(object({ id = string, version = string }))
  default     = {}
}

variable "size" {
  description = "Memory in MiB, requests an instance takes at a time, seconds a request may take, instances."
  type = object({
    memory_mb     = number
    concurrency   = number
    timeout       = number
    min_instances = number
    max_instances = number
  })

  validation {
    condition     = var.size.memory_mb >= 512
    error_message = "memory_mb is 512 or more: the libraries alone take 130 MB."
  }
  validation {
    condition     = var.size.timeout >= 1 && var.size.timeout <= 3600
    error_message = "timeout is 1 to 3600 seconds."
  }
  validation {
    condition     = var.size.concurrency >= 1 && var.size.concurrency <= 1000
    error_message = "An instance takes 1 to 1000 requests at a time."
  }
}

variable "source_code" {
  description = "Where its code is: bucket and object of the archive, the file in it, the function in that."
  type        = object({ bucket = string, object = string, file = string, entry_point = string })
}

variable "traced" {
  description = "Whether it writes spans to Cloud Trace."
  type        = bool
  default     = false
}
