using LunKit.Targets;

namespace LunKit.Hosting;

/// <summary>
/// A SCSI transport that serves targets to initiators. A <see cref="TargetHost"/> owns it and is the only one that changes its targets. Thread safe.
/// <para>
/// It ends in three steps, each of which may be left out: <see cref="StopAccepting"/>, <see cref="DrainAsync"/>, <see cref="IAsyncDisposable.DisposeAsync"/>.
/// After the last no command of the fabric arrives at a unit any more.
/// </para>
/// </summary>
public interface IFabric : IAsyncDisposable
{
    /// <summary>Name of the transport, e.g. <c>iscsi</c>: one word, unique in a host. Ids of sessions begin with it.</summary>
    string Name { get; }

    /// <summary>Refuses a target that the fabric cannot serve, with <see cref="ArgumentException"/>; changes nothing.</summary>
    void Check(Target target);

    /// <summary>
    /// Puts a target in place of the one with its name, or adds it. Sessions of initiators that it still admits go on, and see its LUNs from here on, with the
    /// unit attentions that tell so. Does not wait for commands. Throws <see cref="ArgumentException"/>, and has changed nothing then, when the fabric cannot
    /// serve such a target.
    /// </summary>
    void SetTarget(Target target);

    /// <summary>Takes a target away, and ends its sessions; false when there is none of that name. Does not wait for commands.</summary>
    bool RemoveTarget(string name);

    /// <summary>The sessions at this moment.</summary>
    IReadOnlyList<SessionSnapshot> Sessions { get; }

    /// <summary>Ends a session; false when there is none with that id. The initiator may log in again.</summary>
    /// <param name="id"><see cref="SessionSnapshot.Id"/>.</param>
    /// <param name="reason">For the log.</param>
    bool EndSession(string id, string reason);

    /// <summary>Admits no more initiators.</summary>
    void StopAccepting();

    /// <summary>Asks initiators to log out, and waits until they have, or until their time is over.</summary>
    Task DrainAsync();
}
