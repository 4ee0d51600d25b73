# A function for scripts that boot a Linux guest: whether the guest's kernel crashed. A script sources this.

# Prints what the console says from a crash on, or returns 1. That init was killed says nothing of the cause, and the list of modules names every driver.
crash_report() { # crash_report CONSOLE
  grep -aE -A60 'Oops|Kernel panic|BUG: |Unable to handle kernel|general protection fault|\[ end trace ' "$1" \
    | grep -avE 'Attempted to kill init|Modules linked in'
}
