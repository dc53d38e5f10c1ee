using LunKit.App.Serve;
using LunKit.Tcmu.Target;
using Microsoft.Extensions.Logging;

namespace LunKit.App.Backstores;

/// <summary>What a target gives to the units that it opens.</summary>
/// <param name="Name">The unit's name in the target, and that of its device where a handler answers it: no '/'.</param>
/// <param name="Identity">Text that the unit's identity follows from where what is served keeps none and names none.</param>
/// <param name="States">Where the state of units is kept that are no files.</param>
/// <param name="Log">Log of the unit.</param>
/// <param name="Handlers">Where handler processes connect: begun when the first unit asks.</param>
internal sealed record UnitContext(string Name, string Identity, StateFolder States, ILogger Log, Func<HandlerListener> Handlers)
{
    /// <summary>Refuse writes, whatever the unit's options say.</summary>
    public bool ReadOnly { get; init; }

    /// <summary>State of the write cache at the start, where the unit's options do not say it.</summary>
    public bool WriteCache { get; init; } = true;
}
