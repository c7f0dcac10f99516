import Glibc
package import JSON

/// The trained checkpoints, and runs of the original implementation on them: pico among the fixtures, nano where `../shared`
/// (or `INGOT_SHARED`) stands beside the project.
package enum Trained {
  private static let project = "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")

  private static let shared: String? = {
    if let named = unsafe getenv("INGOT_SHARED").map({ unsafe String(cString: $0) }) { return named }
    let here = project.split(separator: "/")
    return (1...3).map { "/" + here.dropLast($0).joined(separator: "/") + "/shared" }.first { exists($0 + "/goldens") }
  }()

  package static let models: [String] = shared == nil ? ["pico"] : ["pico", "nano"]

  /// The models that there are runs of other code on. Those beside the trained ones have random weights and no tokenizer of
  /// their own: sdar and ling, which take pico's.
  package static let goldens: [String] = models + ["sdar", "ling"]

  private static let fixtures: Set<String> = ["pico", "sdar", "ling"]

  package static func checkpoint(_ name: String) -> String {
    fixtures.contains(name) ? "\(project)/Tests/Fixtures/\(name)" : "\(shared ?? "")/checkpoints/\(name)"
  }

  package static func golden(_ model: String, _ file: String) -> String {
    (fixtures.contains(model) ? "\(project)/Tests/Fixtures" : shared ?? "") + "/goldens/\(model)/\(file)"
  }

  /// The checkpoint with further members in its `config.json` or with other files, in a directory that has the rest by links.
  package static func withVariant<Result>(
    of model: String, _ changes: JSONObject = JSONObject(), files: [String: [UInt8]] = [:],
    _ body: (String) throws -> Result
  ) throws -> Result {
    try withTemporaryDirectory { directory in
      var files = files
      if files["config.json"] == nil {
        let text = String(decoding: try contents(of: checkpoint(model) + "/config.json"), as: UTF8.self)
        guard var config = try JSONParser.parse(text).object else { throw TestFailure("config.json is no object") }
        for member in changes.members { config.append(member) }
        files["config.json"] = Array(JSONValue.object(config).text().utf8)
      }
      for name in listing(of: checkpoint(model)) where files[name] == nil {
        guard unsafe symlink("\(checkpoint(model))/\(name)", "\(directory)/\(name)") == 0 else {
          throw TestFailure("cannot link \(name)")
        }
      }
      for (name, bytes) in files { try write(bytes, to: directory + "/" + name) }
      return try body(directory)
    }
  }
}
