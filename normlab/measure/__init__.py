"""What is measured: functions of tensors -> named numbers, which leave the device in one copy a step."""
