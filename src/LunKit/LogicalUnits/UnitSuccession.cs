namespace LunKit.LogicalUnits;

/// <summary>Whether a unit's process can be replaced by another one while the initiators stay connected, as that of a handler can.</summary>
public enum UnitSuccession
{
    /// <summary>The unit ends with its process, and the sessions of its initiators with it.</summary>
    None,
    /// <summary>Another process may serve the unit next. This one is the first.</summary>
    First,
    /// <summary>Another process has served the unit until now: the current mode parameters are those that it had.</summary>
    Later,
}
