import TestSupport

/// How a run of `ingot` ended.
struct Run {
  /// The exit code, or 128 + the signal.
  let status: Int32
  let stdout: String
  let stderr: String
}

/// Runs the binary in an empty directory; paths among the arguments must be absolute.
func ingot(_ arguments: String...) throws -> Run {
  try withTemporaryDirectory { directory in
    let result = try ingot(arguments, in: directory)
    return Run(status: result.code, stdout: result.out, stderr: result.err)
  }
}

/// A trained checkpoint of 3.5 MB.
let pico = {
  let file = #filePath
  return file.split(separator: "/", omittingEmptySubsequences: false).dropLast(2).joined(separator: "/")
    + "/Fixtures/pico"
}()
