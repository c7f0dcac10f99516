import Glibc

/// The trained checkpoints and golden runs that stand beside the project, where present: `../shared`, or `INGOT_SHARED`.
package enum Shared {
  package static let directory: String? = {
    if let named = unsafe getenv("INGOT_SHARED").map({ unsafe String(cString: $0) }) { return named }
    let here = #filePath.split(separator: "/").dropLast(3)
    for up in 1...3 {
      let candidate = "/" + here.dropLast(up).joined(separator: "/") + "/shared"
      if exists(candidate + "/goldens") { return candidate }
    }
    return nil
  }()

  package static let models: [String] = directory == nil ? [] : ["pico", "nano"]
  package static func checkpoint(_ name: String) -> String { "\(directory ?? "")/checkpoints/\(name)" }
  package static func golden(_ model: String, _ file: String) -> String {
    "\(directory ?? "")/goldens/\(model)/\(file)"
  }
}
