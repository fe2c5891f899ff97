"""The bare operator: its executions side by side over the table of cases, under the roof of the device."""
