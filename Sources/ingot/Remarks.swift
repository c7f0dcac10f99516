import Models

// What a person should know of a run that went well, the same for all commands.

extension Compute {
  /// Of the products that were made.
  var remarks: [String] {
    var remarks: [String] = []
    if activations == .int8, int8ProductCount == 0 {
      remarks.append("--activations int8 changed nothing: no matrix that was used is int4 or int8")
    }
    return remarks
  }
}
