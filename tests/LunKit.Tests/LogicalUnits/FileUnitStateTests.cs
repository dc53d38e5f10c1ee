using LunKit.Backstores;
using LunKit.LogicalUnits;

namespace LunKit.Tests.LogicalUnits;

public sealed class FileUnitStateTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("lunkit-state-").FullName;

    private string File_ => Path.Combine(_folder, "unit.json");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void WhatIsSavedIsLoaded()
    {
        var state = new FileUnitState(File_);
        var unit = state.Load();
        unit.IdentifyingInformation[0] = "00FF";
        state.Save(unit);
        var again = new FileUnitState(File_).Load();
        Assert.Equal((unit.Id, "00FF"), (again.Id, again.IdentifyingInformation[0]));
        Assert.True(state.IsDurable);
        Assert.False(new VolatileUnitState(unit.Id).IsDurable);
    }

    [Fact]
    public void WithoutAFileTheUnitIsNew()
    {
        var id = UnitIdentity.IdOf("device");
        Assert.Equal(id, new FileUnitState(File_, id).Load().Id);
        Assert.NotEqual(new FileUnitState(File_).Load().Id, new FileUnitState(File_).Load().Id);
        Assert.False(FileUnitState.Exists(File_));
    }

    /// <summary>A file that is there but out of reach is not a new unit: its identity and its reservations would be lost.</summary>
    [Theory]
    [InlineData("folder")]
    [InlineData("loop")]
    [InlineData("rubbish")]
    [InlineData("empty")]
    public void WhatCannotBeReadIsNotNew(string what)
    {
        if (what == "folder") Directory.CreateDirectory(File_);
        else if (what == "loop") File.CreateSymbolicLink(File_, File_);
        else File.WriteAllText(File_, what == "rubbish" ? "{ not json" : "");
        Assert.Contains(File_, Assert.Throws<BackstoreException>(() => new FileUnitState(File_).Load()).Message, StringComparison.Ordinal);
        if (what is "folder" or "loop") Assert.Throws<BackstoreException>(() => FileUnitState.Exists(File_));
    }

    /// <summary>What was refused is not there after the next start.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void WhatCannotBeMadeDurableIsTakenBack(bool hasState)
    {
        var id = Guid.NewGuid();
        if (hasState) new FileUnitState(File_).Save(new UnitState { Id = id, Sanitize = "before" });
        var state = new FileUnitState(File_, id, static _ => throw new IOException("the folder is gone"));
        Assert.Throws<IOException>(() => state.Save(new UnitState { Id = id, Sanitize = "after" }));
        Assert.Equal(hasState, FileUnitState.Exists(File_));
        Assert.Equal(hasState ? "before" : null, new FileUnitState(File_).Load().Sanitize);
    }

    [Fact]
    public async Task TwoUnitsCannotShareAFile()
    {
        var first = FileUnitState.Lock(File_);
        await using (new BlockUnit(new MemoryBackstore(1 << 20), "first", first))
        {
            Assert.Equal(BackstoreError.InUse, Assert.Throws<BackstoreException>(() => FileUnitState.Lock(File_)).Error);
            // The lock outlives the file that a save replaces.
            first.Save(first.Load());
            Assert.Throws<BackstoreException>(() => FileUnitState.Lock(File_));
        }
        // The unit lets go of it.
        FileUnitState.Lock(File_).Dispose();
    }
}
