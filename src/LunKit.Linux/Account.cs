using System.Runtime.Versioning;

namespace LunKit.Linux;

/// <summary>Who this process is.</summary>
[SupportedOSPlatform("linux")]
public static class Account
{
    /// <summary>Effective user id; 0 is root.</summary>
    public static uint EffectiveUserId => LibC.geteuid();
}
