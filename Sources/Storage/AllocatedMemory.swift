import CLinux

/// Memory that the language takes for its objects.
package enum AllocatedMemory {
  /// Gives pages back to the system that hold nothing any more; the C library would keep them.
  package static func giveBackUnused() { malloc_trim(0) }
}
