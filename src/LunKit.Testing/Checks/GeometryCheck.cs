namespace LunKit.Testing.Checks;

/// <summary>Sizes and features that a unit can be made of; the guard refuses the worst of them.</summary>
internal static class GeometryCheck
{
    public static async Task RunAsync(CheckContext context)
    {
        await using var store = await context.OpenAsync().ConfigureAwait(false);
        var geometry = store.Geometry;
        Contract.Require(ReferenceEquals(geometry, store.Geometry), "the geometry is a new object at each look: return a stored one");
        Contract.Require(geometry.DiscardGranularity >= geometry.BlockSize && geometry.DiscardGranularity % geometry.BlockSize == 0,
            $"a discard granularity of {geometry.DiscardGranularity} is no multiple of the block size {geometry.BlockSize}");
        Contract.Require(store.AvailableBytes is null or >= 0, $"{store.AvailableBytes} bytes are available");
    }
}
