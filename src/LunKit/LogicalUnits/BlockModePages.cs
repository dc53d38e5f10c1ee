namespace LunKit.LogicalUnits;

/// <summary>The mode pages of a direct-access block device: SPC-5 7.5 and SBC-4 6.5.</summary>
internal static class BlockModePages
{
    // PS = 1 in byte 0: every page can be saved.
    private const byte Ps = 0x80;

    public static IEnumerable<ModePage> Of(bool hasVolatileCache, bool writeCache) =>
    [
        // 01h Read-Write Error Recovery: AWRE and ARRE, as disks do; no retry counts.
        new(0x01, 0, Page(Ps | 0x01, 12, (2, 0xC0)), Page(0, 12)),
        // 02h Disconnect-Reconnect: no limits.
        new(0x02, 0, Page(Ps | 0x02, 16), Page(0, 16)),
        // 08h Caching: WCE is real where the backstore has a volatile cache.
        new(0x08, 0, Page(Ps | 0x08, 20, (2, hasVolatileCache && writeCache ? 0x04 : 0)), Page(0, 20, (2, hasVolatileCache ? 0x04 : 0))),
        // 0Ah Control: GLTSD, unrestricted reordering, TAS: what another nexus aborts is answered, so that its initiator need not time out.
        // D_SENSE, SWP and TAS may change.
        new(0x0A, 0, Page(Ps | 0x0A, 12, (2, 0x02), (3, 0x10), (5, 0x40), (8, 0xFF), (9, 0xFF)), Page(0, 12, (2, 0x04), (4, 0x08), (5, 0x40))),
        // 0Ah/01h Control Extension: SCSIP, TCMOS 0; initial command priority 0.
        new(0x0A, 1, SubPage(Ps | 0x0A, 1, 32), SubPage(0, 0, 32)),
        // 1Ah Power Condition: no timers.
        new(0x1A, 0, Page(Ps | 0x1A, 40), Page(0, 40)),
        // 1Ch Informational Exceptions Control: reported on request only (MRIE 6).
        new(0x1C, 0, Page(Ps | 0x1C, 12, (3, 0x06)), Page(0, 12, (2, 0x0C), (3, 0x0F), (8, 0xFF), (9, 0xFF), (10, 0xFF), (11, 0xFF))),
        // 1Ch/02h Logical Block Provisioning: no threshold descriptors that an initiator could set.
        new(0x1C, 2, SubPage(Ps | 0x1C, 2, 16), SubPage(0, 0, 16)),
    ];

    /// <summary>The pages that say nothing of a device type: Control and Informational Exceptions Control.</summary>
    public static IEnumerable<ModePage> OfAnyDevice => Of(hasVolatileCache: false, writeCache: false).Where(p => p is { Code: 0x02 or 0x0A } or { Code: 0x1C, Subpage: 0 });

    private static byte[] Page(int code, int length, params (int At, int Value)[] values)
    {
        var page = new byte[length];
        page[0] = (byte)code;
        page[1] = (byte)(length - 2);
        foreach (var (at, value) in values) page[at] = (byte)value;
        return page;
    }

    private static byte[] SubPage(int code, int subpage, int length)
    {
        var page = new byte[length];
        page[0] = (byte)(code | 0x40);
        page[1] = (byte)subpage;
        page[3] = (byte)(length - 4);
        return page;
    }
}
