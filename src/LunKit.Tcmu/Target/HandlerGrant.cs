using Microsoft.Win32.SafeHandles;

namespace LunKit.Tcmu.Target;

/// <summary>What a handler gets to serve a device, in the order in which the descriptors go with the message.</summary>
/// <param name="Memory">The shared region, to be mapped whole.</param>
/// <param name="ToHandler">An eventfd that tells the handler of commands.</param>
/// <param name="ToTarget">An eventfd with which the handler tells of completions.</param>
/// <param name="Lease">To be held as long as anything of the device is used, and closed (by the process's end at the latest) afterwards.</param>
internal readonly record struct HandlerGrant(SafeFileHandle Memory, SafeFileHandle ToHandler, SafeFileHandle ToTarget, SafeFileHandle Lease);
